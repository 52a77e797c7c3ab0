// The demo's buttons: asks for a block, and shows what it stopped and what was told because of it.
// Text is only ever set as text.
"use strict";

(() => {
  const EVERY_MS = 1000;
  const section = document.getElementById("demo");
  const at = (id) => document.getElementById(id);
  const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const clock = (wall) => new Date(wall * 1000) // as the sentences of the daemon have it: with its zone
    .toLocaleTimeString([], { hourCycle: "h23", timeZoneName: "short" });

  function line(name, ...texts) {
    const element = document.createElement(name);
    for (const text of texts) element.append(text);
    return element;
  }

  function strong(text) {
    const element = document.createElement("strong");
    element.textContent = text;
    return element;
  }

  function blockLine(block) {
    const said = document.createElement("span");
    said.dataset.said = "";
    const lift = document.createElement("button");
    lift.type = "button";
    lift.textContent = "Lift";
    lift.setAttribute("aria-label", `Lift: ${block.words}`);
    lift.addEventListener("click", () => ask("/demo/lift", { id: block.id }));
    const item = line("li", said, " ", lift);
    item.dataset.id = block.id;
    return item;
  }

  function showBlocks(blocks) {
    const list = at("demo-blocks");
    const wanted = new Set(blocks.map((block) => block.id));
    for (const item of [...list.children]) if (!wanted.has(item.dataset.id)) item.remove();
    for (const block of blocks) {
      let item = [...list.children].find((each) => each.dataset.id === block.id);
      if (!item) list.append(item = blockLine(block));
      const proof = block.refuses && !block.stopped ? "its ports are closed"
        : `${block.stopped} packets stopped`;
      put(item.querySelector("[data-said]"), `${block.words}. Since ${clock(block.since)}: ${proof}.`);
    }
    at("demo-nothing").hidden = blocks.length > 0;
    at("demo-lift-all").hidden = blocks.length < 2;
  }

  let shownTold = "";
  function showTold(told) { // only what is new, so that nothing is read out twice
    const now = JSON.stringify(told);
    if (now === shownTold) return;
    shownTold = now;
    at("demo-silence").hidden = told.length > 0;
    at("demo-told").replaceChildren(...told.map((alert) => {
      const after = alert.after_s === null ? "" : `, ${alert.after_s} s after the last press`;
      const isOver = alert.over_at !== null; // then what it said is no news any more
      const item = line("li", strong(`${alert.severity}: ${alert.alertname} ${alert.where}`),
        ` at ${clock(alert.at)}${after}. `, isOver ? `Over at ${clock(alert.over_at)}.` : alert.summary);
      item.classList.toggle("demo-over", isOver);
      return item;
    }));
  }

  function show(state) {
    for (const [firewall, passed] of Object.entries(state.passed)) {
      put(section.querySelector(`[data-passed="${CSS.escape(firewall)}"]`), String(passed));
    }
    showBlocks(state.blocks);
    showTold(state.told);
  }

  function wrong(text) {
    put(at("demo-error"), text);
    at("demo-error").hidden = !text;
  }

  async function ask(url, body) {
    try {
      const answer = await fetch(url, body === undefined ? {} : {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      const said = await answer.json();
      if (answer.ok) show(said);
      wrong(answer.ok ? "" : `${said.error.what}: ${said.error.what_to_do}`);
    } catch {
      wrong("The demo does not answer: has it ended?");
    }
  }

  for (const fieldset of section.querySelectorAll("[data-firewall-buttons]")) {
    const firewall = fieldset.dataset.firewallButtons;
    const only = fieldset.querySelector("[data-only]");
    for (const button of fieldset.querySelectorAll("[data-kind]")) {
      button.addEventListener("click", () => {
        ask("/demo/block", { firewall, kind: button.dataset.kind, only: only.value });
      });
    }
  }
  at("demo-lift-all").addEventListener("click", () => ask("/demo/lift", { id: "*" }));

  async function goOn() { // one question at a time, also when an answer takes long
    if (!document.hidden) await ask("/demo/state");
    setTimeout(goOn, EVERY_MS);
  }
  goOn();
})();
