// What takes a moment to work out is asked for once the rest can be read: a page of its own, of which one part is shown here.
import {ask} from "./ask.js";

for (const place of document.querySelectorAll("[data-page]")) {
  try {
    const answer = await ask(place.dataset.page);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    place.replaceWith(document.importNode(page.getElementById("later"), true));
  } catch {
    // The link to it stays.
  }
}
