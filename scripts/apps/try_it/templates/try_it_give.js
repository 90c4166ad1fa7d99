// runs once, inside the gr.HTML that takes sounds: files, recordings and examples, answered one after the other
const find = (selector) => element.querySelector(selector);
const say = (...sentences) => { find(".said").textContent = sentences.filter(Boolean).join(" "); };
const waiting = [];
let current, played, focused;

function take(...sounds) {
  waiting.push(...sounds);
  if (current) say(`Listening to ${current.name} …`, `Next: ${waiting.map(({ name }) => name).join(", ")}.`);
  else next();
}

const takeFiles = (files) => take(...[...files].map((file) => ({ file, name: file.name })));

async function next(said) {
  current = waiting.shift();
  say(said, current && `Listening to ${current.name} …`);
  if (!current) return;
  const { file, name, example } = current;
  try {
    const source = file ? { path: (await upload(file)).path } : { example };
    trigger("submit", { ...source, allowed: find("#allowed input").checked });
  } catch (error) {
    next(`${name} could not be sent: ${error.message}.`);
  }
}

document.addEventListener("answered", () => {
  const [answer, audio, verdict] = ["#answer", "#answer audio", "#answer h2"].map((one) => document.querySelector(one));
  const { file, name, address } = current;
  URL.revokeObjectURL(played);
  played = file ? URL.createObjectURL(file) : address;
  if (audio) audio.src = played;
  if (focused?.isConnected === false && document.activeElement === document.body) verdict.focus(); // it was in the last
  if (innerWidth < 800) answer.scrollIntoView();
  next(document.querySelector("#answer .problem p")?.innerText ?? `${name}: ${verdict.innerText}.`);
});
document.addEventListener("unanswered", () => next(`${current.name} got no answer; try it again.`));
document.addEventListener("focusin", ({ target }) => { focused = target; });

find("input").addEventListener("change", ({ target }) => {
  takeFiles(target.files);
  target.value = ""; // the same file may be chosen again
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find(".drop").classList.add("over");
});
document.addEventListener("dragleave", () => find(".drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find(".drop").classList.remove("over");
  takeFiles(event.dataTransfer.files);
});

find("#examples").addEventListener("click", ({ target }) => {
  const { example, address } = target.dataset;
  if (address) take({ example: Number(example), address, name: target.textContent });
});

// --- a recording ---

const RAW = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // they are made for speech
const button = find(".record");
let recorder;

async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: RAW });
  const started = Date.now();
  const clock = setInterval(() => { button.textContent = `Stop (${Math.floor((Date.now() - started) / 1000)} s)`; }, 200);
  recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", ({ data }) => {
    const [, kind] = data.type.match(/^\w+\/(\w+)/);
    takeFiles([new File([data], `recording.${kind}`)]);
  });
  recorder.addEventListener("stop", () => {
    clearInterval(clock);
    for (const track of stream.getTracks()) track.stop();
    button.textContent = "Record";
  });
  recorder.start();
  button.textContent = "Stop";
}

button.addEventListener("click", async () => {
  if (recorder?.state === "recording") {
    recorder.stop();
    return;
  }
  try {
    await record();
  } catch {
    say("No microphone found or allowed here; the page's address has to begin with https:// or be localhost.");
  }
});
