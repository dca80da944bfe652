"use strict";
// Takes the parts that change out of a fresh copy of the page. Nothing is lost by it: not the focus, not what is being
// read or unfolded, and for a minute not what is selected. When the exporter does not answer, the page says so: old figures must not look like new ones.
(() => {
  const EVERY = 15000;
  const LONGEST_SELECTION = 4;
  const lost = document.getElementById("lost");
  let selecting = 0;

  function selects() {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed;
  }

  function tell(what) {
    lost.hidden = false;
    if (lost.textContent !== what) lost.textContent = what;
  }

  function take(page) {
    document.title = page.title;
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      if (fresh === null) continue;
      part.className = fresh.className;
      if (part.innerHTML === fresh.innerHTML) continue;
      const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
      const scrolled = [...part.querySelectorAll(".scroll[id]")].map((region) => [region.id, region.scrollLeft]);
      part.innerHTML = fresh.innerHTML;
      for (const [id, left] of scrolled) {
        const region = document.getElementById(id);
        if (region !== null) region.scrollLeft = left;
      }
      if (focused !== "") document.getElementById(focused)?.focus({ preventScroll: true });
    }
  }

  async function refresh() {
    if (document.hidden) return;
    selecting = selects() ? selecting + 1 : 0;
    if (selecting > 0 && selecting <= LONGEST_SELECTION) return;
    try {
      // Without a user and a password, which an address may have, and fetch refuses.
      const here = location.origin + location.pathname + location.search;
      const answer = await fetch(here, { cache: "no-store", signal: AbortSignal.timeout(EVERY - 1000) });
      if (!answer.ok) return tell(`${lost.dataset.refused} (HTTP ${answer.status})`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // A proxy's page to log in at, say.
      if (page.getElementById("headline") === null) return tell(lost.dataset.refused);
      take(page);
      lost.hidden = true;
    } catch {
      tell(lost.dataset.silent);
    }
  }

  setInterval(refresh, EVERY);
  document.addEventListener("visibilitychange", refresh);
})();
