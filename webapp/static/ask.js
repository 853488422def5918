// Asking this service: the header says that a page of the dashboard asks, which is when its login counts.
const OWN = {"X-Fleetcast-Dashboard": "1"};

export async function ask(path, about = {}) {
  const answer = await fetch(path, {...about, headers: {...OWN, ...about.headers}});
  // The login is over: the page itself leads to a new one, and back.
  if (answer.status === 401 || (answer.redirected && new URL(answer.url).pathname === "/login")) location.reload();
  return answer;
}

export async function send(path, body) {
  const answer = await ask(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: body && JSON.stringify(body)});
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail || told.title);
  return told;
}

// The server-sent events of a body. One that stays silent for a minute (a comment comes every 15 s) is given up.
export async function* events(path, last, signal) {
  const gone = new AbortController();
  signal.addEventListener("abort", () => gone.abort());
  let patience = setTimeout(() => gone.abort(), 60_000);
  const answer = await ask(path, {headers: {Accept: "text/event-stream", ...(last && {"Last-Event-ID": last})}, signal: gone.signal});
  if (answer.status === 204) return;
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {value, done} = await reader.read();
    clearTimeout(patience);
    if (done) return;
    patience = setTimeout(() => gone.abort(), 60_000);
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const told = Object.fromEntries(block.split("\n").filter((line) => !line.startsWith(":")).map((line) => line.split(/: (.*)/s)));
      if (told.event) yield {...told, data: JSON.parse(told.data)};
    }
  }
}
