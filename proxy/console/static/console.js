// What every page does: themes, questions in dialogs, copying, and keeping up with the gateway.

// Themes --------------------------------------------------------------------------------------

const THEMES = { "": "as the system", light: "light", dark: "dark" };
const root = document.documentElement;
const toggle = document.getElementById("theme");

function nameTheme() {
  const text = `Theme: ${THEMES[root.dataset.theme ?? ""]}`;
  toggle.setAttribute("aria-label", text);
  toggle.title = text;
}

if (toggle) {
  nameTheme();
  toggle.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(root.dataset.theme ?? "") + 1) % names.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // It lasts as long as the page.
    }
    nameTheme();
    document.dispatchEvent(new Event("theme"));
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));

// Passing words -------------------------------------------------------------------------------

const toasts = document.getElementById("toasts");

function say(text, bad = false) {
  const toast = document.createElement("p");
  toast.className = bad ? "toast bad" : "toast";
  toast.textContent = text;
  toasts.append(toast);
  setTimeout(() => toast.remove(), bad ? 8000 : 3000);
  return toast;
}

document.addEventListener("toast", (event) => say(event.detail));

// Questions: the form of the page that a link leads to, in a dialog ----------------------------

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog]");
  const other = event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (!link || other) return;
  event.preventDefault();
  ask(link.href);
});

async function ask(address) {
  let form = null;
  try {
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    form = answer.ok ? page.querySelector("form[data-question]") : null;
  } catch {
    // The page itself says what is wrong.
  }
  if (!form) {
    location.assign(address);
    return;
  }
  if (document.querySelector("dialog[open]")) return; // A double click asks once.
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", form.getAttribute("aria-labelledby") ?? "");
  dialog.append(document.adoptNode(form));
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
    if (event.target.closest("[data-cancel]")) {
      event.preventDefault();
      dialog.close();
    }
  });
  dialog.showModal();
}

// Twice is once: a form that is on its way is not sent again.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) {
    event.preventDefault();
    return;
  }
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Copying -------------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  const text = source.value ?? source.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS a page has no clipboard: the text is marked, and one key away.
    if (source.select) source.select();
    say("Marked: copy it with Ctrl+C or ⌘C");
    return;
  }
  say("Copied");
});

// Keeping up ----------------------------------------------------------------------------------

let lost = null;

function answered() {
  lost?.remove();
  lost = null;
}

function unanswered() {
  if (lost?.isConnected) return;
  lost = document.createElement("p");
  lost.className = "toast bad";
  lost.textContent = "The gateway does not answer. What you see is as it was; it is asked again by itself.";
  toasts.append(lost);
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const timed = !(event.detail.requestConfig.triggeringEvent instanceof Event);
  // Nobody looks, or somebody answers a question.
  if (timed && (document.hidden || document.querySelector("dialog[open]"))) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const marked = getSelection();
  // What somebody is marking, to copy it, is not taken from under their hands.
  if (marked && !marked.isCollapsed && event.detail.target.contains(marked.anchorNode)) event.detail.shouldSwap = false;
});
document.addEventListener("htmx:sendError", unanswered);
document.addEventListener("htmx:timeout", unanswered);
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) answered();
});
document.addEventListener("htmx:responseError", (event) => {
  let text = `The gateway answered ${event.detail.xhr.status}.`;
  try {
    text = JSON.parse(event.detail.xhr.responseText).detail ?? text;
  } catch {
    // Then it is no answer of ours.
  }
  if (!toasts.childElementCount) say(text, true);
});
document.addEventListener("gateway", (event) => (event.detail ? answered() : unanswered()));
