// runs once, inside the gr.HTML that shows the answers: the player, and the line that follows it
const find = (selector) => element.querySelector(selector);
const seconds = () => Number(find(".answer").dataset.seconds);

watch("value", () => {
  if (find("audio") && window.heard) find("audio").src = window.heard;
  if (innerWidth < 800) element.scrollIntoView({ behavior: "smooth" });
});

element.addEventListener("change", ({ target }) => {
  find(".answer").classList.toggle("chosen", target.value !== "none");
  for (const one of element.querySelectorAll(".heat, polyline")) {
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
