// runs once, inside the gr.HTML that takes sounds: files, recordings and examples, answered one after the other
const find = (selector) => element.querySelector(selector);
const report = (...sentences) => { find(".sound-status").textContent = sentences.filter(Boolean).join(" "); };
// Gradio lays the page anew after a lost connection: what is no longer part of it does nothing
const on = (kind, act) => document.addEventListener(kind, (event) => element.isConnected && act(event));
const waiting = [];
let current, played, focused;

function take(...sounds) {
  waiting.push(...sounds);
  if (current && waiting.length) report(`Analysing ${current.name} …`, `Next: ${waiting.map(({ name }) => name).join(", ")}.`);
  if (!current) next();
}

const takeFiles = (files) => take(...[...files].map((file) => ({ file, name: file.name })));

async function next(outcome) {
  current = waiting.shift();
  report(outcome, current && `Analysing ${current.name} …`);
  if (!current) return;
  const { file, name, example } = current;
  try {
    const source = file ? { path: (await upload(file)).path } : { example };
    trigger("submit", { ...source, allowed: find("#allowed input").checked });
  } catch (error) {
    next(`${name} could not be sent: ${error.message}.`);
  }
}

on("answered", () => {
  const [answer, audio, verdict] = ["#answer", "#answer audio", "#answer h2"].map((one) => document.querySelector(one));
  const { file, name, address } = current;
  URL.revokeObjectURL(played);
  played = file ? URL.createObjectURL(file) : address;
  if (audio) audio.src = played;
  if (focused?.isConnected === false && document.activeElement === document.body) verdict.focus(); // it was in the last
  if (innerWidth < 800) answer.scrollIntoView();
  next(document.querySelector("#answer .problem p")?.innerText ?? `${name}: ${verdict.innerText}.`);
});
on("unanswered", () => next(`${current.name} got no answer; try it again.`));
on("focusin", ({ target }) => { focused = target; });

const input = find("input[type=file]");

function takeChosen() {
  takeFiles(input.files);
  input.value = ""; // the same file may be chosen again
}

input.addEventListener("change", takeChosen);

on("dragover", (event) => {
  event.preventDefault();
  find(".drop").classList.add("over");
});
on("dragleave", () => find(".drop").classList.remove("over"));
on("drop", (event) => {
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
let recorder, asking;

async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: RAW });
  recorder = new MediaRecorder(stream);
  const started = Date.now();
  const clock = setInterval(() => { button.textContent = `Stop (${Math.floor((Date.now() - started) / 1000)} s)`; }, 200);
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
  if (recorder?.state === "recording") return recorder.stop();
  if (asking) return; // the browser asks its user
  asking = true;
  try {
    await record();
  } catch {
    report("No microphone found or allowed here; the page's address has to begin with https:// or be localhost.");
  } finally {
    asking = false;
  }
});

find(".give").inert = false;
if (input.files.length) takeChosen(); // the browser kept it while the page was loaded again
