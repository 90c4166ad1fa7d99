() => {
  // each button that takes a tag off is called by its tag; whoever pressed a button that then went stays beside it
  let place;
  document.addEventListener("focusin", ({ target }) => { place = target.closest(".card, .pager"); });
  new MutationObserver(() => {
    for (const tag of document.querySelectorAll(".card .token")) {
      tag.querySelector(".token-remove").setAttribute("aria-label", `remove ${tag.textContent.trim()}`);
    }
    const { activeElement, body } = document;
    if (place?.isConnected && (activeElement === body || activeElement.disabled)) {
      place.querySelector("button:enabled")?.focus();
    }
  }).observe(document.body, { attributeFilter: ["disabled"], childList: true, characterData: true, subtree: true });
}
