// The theme a person chose, before anything is painted; without a choice the system's holds.
(() => {
  const kinds = ["auto", "light", "dark"];
  const chosen = () => localStorage.getItem("theme") || "auto";
  const wear = () => { document.documentElement.dataset.theme = chosen(); };
  wear();
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const say = () => { button.textContent = `Theme: ${chosen()}`; };
    button.hidden = false;
    say();
    button.addEventListener("click", () => {
      localStorage.setItem("theme", kinds[(kinds.indexOf(chosen()) + 1) % kinds.length]);
      wear();
      say();
      dispatchEvent(new Event("theme"));
    });
  });
})();
