// ReDoc fetches its maker's logo from its maker's host. Our policy refuses that, and the browser's console would say so on every visit.
// It leaves out a logo that cannot be shown, so it is given one.
const here = (address) => (String(address).startsWith("https://cdn.redoc.ly/") ? "data:," : address);
const {prototype} = HTMLImageElement;
const {get, set} = Object.getOwnPropertyDescriptor(prototype, "src");
Object.defineProperty(prototype, "src", {get, set(address) { set.call(this, here(address)); }});
prototype.setAttribute = function (name, value) { Element.prototype.setAttribute.call(this, name, name === "src" ? here(value) : value); };
