// What can be done here: a button that names an operation of the API asks once whether it is meant, and for a reason where that is kept.
import {send} from "./ask.js";

const sure = document.getElementById("sure");
const said = document.getElementById("sure-said");
const why = document.getElementById("sure-why");
let asked = null;

// Rows are replaced while one looks, so it is the page that listens.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-deed]");
  if (!button) return;
  asked = button;
  document.getElementById("sure-what").textContent = button.dataset.sure;
  said.textContent = "";
  why.hidden = !("why" in button.dataset);
  why.querySelector("input").value = "";
  sure.showModal();
});

sure.querySelector("form").addEventListener("submit", async (event) => {
  if (event.submitter?.value === "no") return;
  event.preventDefault();
  const {deed, body, go} = asked.dataset;
  const reason = why.querySelector("input").value.trim();
  const told = {...JSON.parse(body || "{}"), ...(reason && {reason})};
  try {
    const answer = await send(deed, Object.keys(told).length || "why" in asked.dataset ? told : undefined);
    location.assign(go ? go + answer.id : location.href);
    if (!go) location.reload();
  } catch (error) {
    said.textContent = error.message;
  }
});
