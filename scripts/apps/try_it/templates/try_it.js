// runs once, inside the gr.HTML that shows the answers: what is chosen, and the line that follows the player
const find = (selector) => element.querySelector(selector);
const seconds = () => Number(find(".answer").dataset.seconds);

watch("value", () => {
  const all = find(".none input"); // Gradio changes what differs from the last answer; what was chosen there would stay
  if (all) all.checked = true;
  document.dispatchEvent(new Event("answered"));
});

element.addEventListener("change", ({ target }) => {
  find(".answer").classList.toggle("chosen", target.value !== "none");
  for (const one of element.querySelectorAll(".heat, .curves g")) {
    one.classList.toggle("on", one.classList.contains(`c${target.value}`));
  }
});

element.addEventListener("timeupdate", ({ target }) => {
  find(".panels").style.setProperty("--at", Math.min(1, target.currentTime / seconds()));
}, true);

element.addEventListener("click", ({ target, clientX }) => {
  const panels = target.closest(".panels");
  if (!panels) return;
  const { left, width } = panels.getBoundingClientRect();
  find("audio").currentTime = ((clientX - left) / width) * seconds();
});
