// runs once, inside the gr.HTML that says what may be given: without a microphone, the second paragraph shows
const note = element.querySelector("#no-microphone");
const asked = navigator.permissions?.query({ name: "microphone" }).catch(() => null);

async function look() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  note.hidden = devices.some(({ kind }) => kind === "audioinput") && (await asked)?.state !== "denied";
}

look();
asked?.then((permission) => permission?.addEventListener("change", look));
