// Talking to the platform: JSON by fetch, events by a fetch that streams (unlike EventSource it says why it was refused).

const SILENCE_MS = 40_000; // the platform says something each 15 s
const RETRY_MS = [500, 1000, 2000, 4000];

export class Refused extends Error {}

async function request(path, options = {}) {
  const tenant = new URLSearchParams(location.search).get("tenant");
  const url = new URL(path, document.baseURI);
  if (tenant) url.searchParams.set("tenant", tenant);
  const response = await fetch(url, { cache: "no-store", ...options });
  if (response.status === 401 || response.status === 403) throw new Refused();
  if (!response.ok) throw new Error(`${response.status}`);
  return response;
}

export async function json(path) {
  return (await request(path, { signal: AbortSignal.timeout(15_000) })).json();
}

/** Exchange the token for the platform's cookie, which scripts cannot read. Returns whether it was the right one. */
export async function login(token) {
  const response = await fetch(`login?${new URLSearchParams({ token })}`, { cache: "no-store" });
  return response.ok;
}

/** Follow the events for ever. on: {open(), event(name, data), lost(), refused()}. Returns a function that ends it. */
export function follow(path, on) {
  let failures = 0;
  let wake = () => {};
  let ended = false;
  addEventListener("online", () => wake());
  (async () => {
    while (!ended) {
      try {
        await once(path, { ...on, open: () => { failures = 0; on.open(); } });
      } catch (error) {
        if (error instanceof Refused) return on.refused();
      }
      if (ended) return undefined;
      on.lost();
      const wait = RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)] * (0.75 + Math.random() / 2);
      await new Promise((resolve) => { wake = resolve; setTimeout(resolve, wait); });
    }
    return undefined;
  })();
  return () => { ended = true; wake(); };
}

async function once(path, on) {
  const control = new AbortController();
  let silence;
  const heard = () => { clearTimeout(silence); silence = setTimeout(() => control.abort(), SILENCE_MS); };
  heard();
  try {
    const response = await request(path, { signal: control.signal });
    on.open();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      blocks.forEach((block) => dispatch(block, on));
    }
  } finally {
    clearTimeout(silence);
    control.abort();
  }
}

function dispatch(block, on) {
  let name = "message";
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data) on.event(name, JSON.parse(data));
}
