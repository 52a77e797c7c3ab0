// Keeps the status page true: applies what /api/v1/events tells, and says so when it stops telling.
// Text is only ever set as text; nothing that comes from outside is read as markup.
"use strict";

const LOST_AFTER_MS = 15000; // three heartbeats
const byId = (id) => document.getElementById(id);
const fill = (element, text) => { if (element && element.textContent !== text) element.textContent = text; };

function ago(seconds) {
  if (seconds < 60) return "less than a minute ago";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return minutes === 1 ? "1 minute ago" : `${minutes} minutes ago`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} hours ago` : `${Math.floor(hours / 24)} days ago`;
}

function showTimes() {
  for (const time of document.querySelectorAll("time[data-wall]")) {
    const moment = new Date(Number(time.dataset.wall) * 1000);
    const said = moment.toLocaleString(undefined, {
      year: "numeric", month: "short", day: "numeric",
      hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
    });
    fill(time, `${said} (${ago((Date.now() - moment) / 1000)})`);
  }
}

function incidentLine(incident) {
  const line = byId("incident-line").content.firstElementChild.cloneNode(true);
  line.dataset.severity = incident.severity;
  const put = (name, text) => fill(line.querySelector(`[data-fill="${name}"]`), text);
  for (const name of ["severity", "alertname", "scope", "member", "summary"]) put(name, incident[name]);
  put("cause", incident.cause.replaceAll("_", " "));
  put("acknowledged", incident.acknowledged ? `· acknowledged by ${incident.acknowledged}` : "");
  line.querySelector("time").dataset.wall = incident.since;
  line.querySelector("time").dateTime = new Date(incident.since * 1000).toISOString();
  line.querySelector('a[data-fill="runbook"]').href = `/runbooks/${encodeURIComponent(incident.alertname)}`;
  line.querySelector('a[data-fill="id"]').href = `/incidents/${encodeURIComponent(incident.id)}`;
  return line;
}

let shownIncidents = null;
function showIncidents(incidents) { // only what changed, so that nothing is read out twice
  const now = JSON.stringify(incidents);
  const onPage = [...byId("incidents").querySelectorAll('a[data-fill="id"]')];
  const loaded = onPage.map((link) => decodeURIComponent(link.pathname.split("/").pop()));
  const isTheLoadedPage = shownIncidents === null
    && JSON.stringify(loaded) === JSON.stringify(incidents.map((incident) => incident.id));
  if (now === shownIncidents) return;
  shownIncidents = now;
  if (isTheLoadedPage) return;
  byId("no-incidents").hidden = incidents.length > 0;
  byId("incidents").replaceChildren(...incidents.map(incidentLine));
}

function showOverview(top) {
  byId("headline").dataset.level = top.level;
  fill(byId("headline-text"), top.headline);
  fill(byId("counts"), top.counts);
  fill(byId("others"), top.others);
  document.title = `${top.headline} – psapwatch`;
  for (const count of document.querySelectorAll("[data-firewall]")) {
    fill(count, top.firewalls[count.dataset.firewall] || "");
  }
  fill(byId("incidents-open"), String(top.incidents_open));
  showIncidents(top.incidents);
  byId("notes").hidden = top.notes.length === 0;
  byId("notes-list").replaceChildren(...top.notes.map((note) => {
    const item = document.createElement("li");
    item.textContent = note;
    return item;
  }));
  alive(top.at);
  showTimes();
}

function showTile(tile) {
  const element = byId(tile.id);
  if (!element) return;
  element.dataset.state = tile.state;
  fill(element.querySelector(".symbol"), tile.symbol);
  fill(element.querySelector(".word"), tile.word);
  fill(element.querySelector(".paths"), tile.paths);
}

let heardAt = Date.now();
let knownAt = "";
function alive(wall) {
  heardAt = Date.now();
  knownAt = new Date(wall * 1000).toLocaleTimeString();
  lost(false);
}

function lost(isLost) {
  const live = byId("live");
  document.body.toggleAttribute("data-lost", isLost);
  live.toggleAttribute("data-lost", isLost);
  fill(live, isLost ? `No word from psapwatch: this was true at ${knownAt || "an unknown time"}` : "Live");
}

function filter() {
  const wanted = byId("find").value.trim().toLowerCase();
  const onlyProblems = byId("problems").checked;
  for (const tile of document.querySelectorAll(".tile")) {
    const isWanted = tile.textContent.toLowerCase().includes(wanted);
    tile.parentElement.hidden = !isWanted || (onlyProblems && tile.dataset.state === "up");
  }
}

function listen() {
  const events = new EventSource("/api/v1/events");
  let opened = false;
  events.addEventListener("open", () => {
    if (opened) location.reload(); // what happened in between was not told
    opened = true;
  });
  events.addEventListener("error", () => lost(true)); // the browser goes on trying by itself
  events.addEventListener("reset", () => location.reload());
  events.addEventListener("overview", (event) => showOverview(JSON.parse(event.data)));
  events.addEventListener("tiles", (event) => {
    JSON.parse(event.data).tiles.forEach(showTile);
    filter();
  });
  setInterval(() => { if (Date.now() - heardAt > LOST_AFTER_MS) lost(true); }, 1000);
}

showTimes();
setInterval(showTimes, 30000);
if (byId("headline")) {
  byId("tools").hidden = false;
  byId("find").addEventListener("input", filter);
  byId("problems").addEventListener("change", filter);
  listen();
}
