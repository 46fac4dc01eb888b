// Follows the events: whenever there is something new, the table is asked for once more.

const SHORTEST_MS = 700;
const badge = document.getElementById("following");
let due = null;
let shown = 0;

function refresh() {
  if (due !== null || document.hidden) return;
  due = setTimeout(() => {
    due = null;
    shown = Date.now();
    const table = document.querySelector("#events[data-live]");
    if (table) htmx.trigger(table, "news");
  }, Math.max(0, shown + SHORTEST_MS - Date.now()));
}

function tell(text, good) {
  badge.hidden = false;
  badge.textContent = text;
  badge.className = good ? "badge state-active" : "badge state-suspended";
}

// Each event has a name of its own, and a source tells only of those it is asked for by name.
async function follow() {
  for (;;) {
    try {
      const answer = await fetch("/api/v1/events?recent=0", { headers: { Accept: "text/event-stream" } });
      if (!answer.ok) throw new Error(String(answer.status));
      tell("live", true);
      refresh();
      const reader = answer.body.getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        if (!onlyHeartbeat(part.value)) refresh();
      }
    } catch {
      // It is told below.
    }
    tell("not live: asking again", false);
    await new Promise((resolve) => { setTimeout(resolve, 3000); });
    refresh();
  }
}

// A line that begins with a colon (58) is a comment.
function onlyHeartbeat(bytes) {
  return bytes[0] === 58;
}

document.addEventListener("visibilitychange", refresh);
follow();
