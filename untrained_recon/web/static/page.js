// Every second the page is asked for again, and what has changed of it takes the place of what was there.
"use strict";

const EVERY_MS = 1000;
const SLOW_MS = 5000;
const link = document.getElementById("link");
const pause = document.getElementById("pause");
let tag = null;
let lost = false;

function put(next, place) {
  place.replaceWith(document.importNode(next, true));
}

function swap(fresh) {
  const focused = document.activeElement && document.activeElement.id;
  const parts = [...document.querySelectorAll("[data-live]")];
  const news = [...fresh.querySelectorAll("[data-live]")];
  if (parts.map((part) => part.id).join() !== news.map((part) => part.id).join()) {
    put(fresh.getElementById("main"), document.getElementById("main"));
  } else {
    parts.forEach((part, n) => part.isEqualNode(news[n]) || put(news[n], part));
  }
  put(fresh.getElementById("since"), document.getElementById("since"));
  document.title = fresh.title;
  const again = focused && document.getElementById(focused);
  if (again && again !== document.activeElement) again.focus({ preventScroll: true });
}

async function look() {
  try {
    const headers = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (answer.status === 200) {
      swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
      tag = answer.headers.get("ETag");
    }
    if (answer.status === 404) return say("this scan is not known any more", true);
    return say("", !(answer.ok || answer.status === 304));
  } catch {
    return say("", true);
  }
}

function say(text, isLost) {
  if (isLost && !lost) link.textContent = text || `no answer since ${new Date().toLocaleTimeString()}`;
  if (!isLost && lost) link.textContent = "";
  link.classList.toggle("lost", isLost);
  lost = isLost;
}

async function follow() {
  if (!document.hidden && pause.getAttribute("aria-pressed") === "false") await look();
  const busy = document.querySelector(".badge.run");
  setTimeout(follow, busy && !lost ? EVERY_MS : document.getElementById("running") && !lost ? 2 * EVERY_MS : SLOW_MS);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") === "false";
  pause.setAttribute("aria-pressed", String(paused));
});
setTimeout(follow, EVERY_MS);
