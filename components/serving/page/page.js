// The page of the service. Whatever a file or a service says enters as text, never as markup; nothing leaves for elsewhere.

const $ = (selector, within = document) => within.querySelector(selector);
const percent = (share) => share > 0 && share < 0.01 ? "under 1 %" : share < 1 && share > 0.99 ? "over 99 %" : `${Math.round(100 * share)} %`;
const clock = (s) => s === null || s === undefined || !Number.isFinite(s) ? "" : `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;
const MARKS = {
  genuine: "M4.500 12.500l5 5L19.500 7",
  forged: "M12 8v5.500M12 17h.01M10.300 3.900L2.200 18a2 2 0 0 0 1.700 3h16.200a2 2 0 0 0 1.700-3L13.700 3.900a2 2 0 0 0-3.400 0z",
  unsure: "M9 9a3 3 0 1 1 4.200 2.800c-.9.400-1.200.900-1.200 1.700v.5M12 17.500h.01M12 2.500a9.500 9.500 0 1 0 0 19 9.500 9.500 0 0 0 0-19z",
};
const HEADLINES = { genuine: "Looks genuine", forged: "Looks forged", unsure: "Cannot tell" };
let key = "";
let ready = null;
let chain = Promise.resolve();

function make(tag, text = "", name = "") {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  if (name) made.className = name;
  return made;
}

function say(words) { $("#say").textContent = words; }

async function ask(address, body, method = body ? "POST" : "GET") {
  const answer = await fetch(address, { method, body, headers: key ? { authorization: `Bearer ${key}` } : {} })
    .catch(() => { throw new Error("The service does not answer, or the file is no longer where it was."); });
  if (answer.status === 401) {
    await unlocked();
    return ask(address, body, method);
  }
  const said = await answer.json().catch(() => ({ detail: `the service answered with ${answer.status}` }));
  if (answer.status === 503) {
    await new Promise((go) => setTimeout(go, 1000 * Number(answer.headers.get("retry-after") || 2)));
    return ask(address, body, method);
  }
  if (!answer.ok) throw new Error(said.detail);
  return said;
}

function unlocked() {
  const form = $("#unlock");
  form.hidden = false;
  $("#key").focus();
  return new Promise((go) => form.addEventListener("submit", (event) => {
    event.preventDefault();
    key = $("#key").value;
    form.hidden = true;
    go();
  }, { once: true }));
}

// --- the record of an answer, as the page reads it: the one place that knows its form

function read(reply) {
  const record = reply.answer;
  const point = record.operating_point;
  const verdict = record.verdict === "cannot tell" ? "unsure" : record.verdict;
  const faces = record.faces.map((face) => ({
    number: face.number,
    verdict: face.verdict === "cannot tell" ? "unsure" : face.verdict,
    probability: face.probability ?? face.score,
    why: face.reason ? face.reason.words : "",
    leftOut: face.left_out,
    decided: face.number === record.decided_by,
    from: face.from_s,
    until: face.until_s,
    moments: face.sightings.map((one) => ({ frame: one.frame, time: one.time_s, score: one.score })),
    pictures: (reply.pictures || []).filter((one) => one.face === face.number).sort((one, other) => one.frame - other.frame),
  }));
  return {
    verdict,
    why: record.reason ? reasoned(record) : plain(verdict, record),
    probability: record.probability ?? record.score,
    limit: point.threshold_probability ?? point.threshold,
    scoreLimit: point.threshold,
    calibrated: point.calibrated,
    rates: rates(point),
    warnings: warnings(record),
    limits: record.limits,
    faces,
    clip: record.file.kind === "clip",
  };
}

const REASONS = {
  "no face": "No face was found.", "too small": "The face is too small.", "too blurred": "The face is too blurred.",
  "too dark": "The face is too dark.", "profile view": "The face is seen from the side.",
  "too few frames": "The face is seen for too short a time.", "unfamiliar": "It is unlike the pictures this generation was taught.",
  "near the threshold": "It lies too near the line between genuine and forged.",
};

function reasoned(record) {
  const words = record.reason.words;
  const sentence = `${words[0].toUpperCase()}${words.slice(1)}${words.endsWith(".") ? "" : "."}`;
  return `${REASONS[record.reason.code] || ""} ${record.reason.code === "no face" ? "" : sentence}`.trim();
}

function plain(verdict, record) {
  const judged = record.faces_seen - record.faces_left_out;
  const like = "traces like those of the forgeries that this generation learned";
  if (verdict === "genuine") return `${judged > 1 ? `None of ${judged} faces bears` : "The face bears no"} ${like}.`;
  return judged > 1 ? `Of ${judged} faces, face ${record.decided_by} is the most suspicious: it bears ${like}.` : `The face bears ${like}.`;
}

function rates(point) {
  const told = [];
  const share = (rate) => rate.low === null ? percent(rate.value) : `${percent(rate.value)} (${percent(rate.low)} to ${percent(rate.high)})`;
  if (point.false_alarms) told.push(`Of genuine clips it calls ${share(point.false_alarms)} forged.`);
  if (point.misses) told.push(`Of forged clips it calls ${share(point.misses)} genuine.`);
  if (point.clips) told.push(`Measured on ${point.clips} clips of the kinds it was taught, which it did not learn from.`);
  if (!point.calibrated) told.push(point.words);
  return told;
}

function warnings(record) {
  const told = record.faces.filter((face) => face.left_out && record.faces.length > 1)
    .map((face) => `Face ${face.number} was left out: ${face.reason.words}.`);
  if (record.file.provenance.found) told.unshift(record.file.provenance.words);
  return told;
}

// --- one file: from the drop to the answer

function begin(file) {
  const shown = $("#result").content.firstElementChild.cloneNode(true);
  $(".name", shown).textContent = file.name;
  $(".verdict", shown).hidden = true;
  $(".close", shown).addEventListener("click", () => { shown.remove(); $("#file").focus(); });
  preview(file, shown);
  $("#results").prepend(shown);
  shown.scrollIntoView({ behavior: "smooth", block: "nearest" });
  for (const part of [".record", ".rates", ".warnings", ".limits"]) $(part, shown).hidden = true;
  wait(shown, "It waits for the one before.");
  chain = chain.then(() => examine(file, shown)).catch((fault) => refuse(shown, fault));
}

function preview(file, shown) {
  const clip = file.type.startsWith("video/");
  const media = make(clip ? "video" : "img");
  media.src = URL.createObjectURL(file);
  if (clip) Object.assign(media, { controls: true, muted: true, playsInline: true, preload: "auto" });
  else media.alt = "What you dropped";
  media.addEventListener("error", () => $(".stage", shown).replaceChildren(make("p", "This browser cannot show the file. The service may still read it.")));
  $(".stage", shown).replaceChildren(media);
}

function wait(shown, words) {
  const work = $(".work", shown);
  work.hidden = !words;
  $("p", work).textContent = words;
}

async function examine(file, shown) {
  if (!shown.isConnected) return;
  if (ready && file.size > ready.limits.bytes) throw new Error(`It has ${bytes(file.size)}; this service takes up to ${bytes(ready.limits.bytes)}.`);
  wait(shown, "Looking for faces, and at them…");
  say(`Looking at ${file.name}`);
  const body = new FormData();
  body.append("file", file, file.name);
  body.append("pictures", "true");
  const reply = await ask("/v1/score", body);
  const seen = read(reply);
  show(shown, seen, reply, file);
  say(`${file.name}: ${HEADLINES[seen.verdict]}. ${seen.why}`);
}

function refuse(shown, fault) {
  wait(shown, "");
  const words = `${fault.message[0].toUpperCase()}${fault.message.slice(1)}`;
  head(shown, "unsure", "No answer", words);
  say(`No answer. ${words}`);
}

function head(shown, verdict, words, why) {
  const line = $(".verdict", shown);
  line.hidden = false;
  shown.classList.add(verdict);
  $("path", line).setAttribute("d", MARKS[verdict]);
  $("strong", line).textContent = words;
  $(".why", shown).textContent = why;
}

function show(shown, seen, reply, file) {
  wait(shown, "");
  head(shown, seen.verdict, HEADLINES[seen.verdict], seen.why);
  if (seen.probability !== null) scale(shown, seen);
  list($(".rates", shown), seen.verdict === "unsure" ? [] : seen.rates);
  list($(".warnings", shown), seen.warnings);
  list($(".limits ul", shown), seen.limits);
  $(".limits", shown).hidden = !seen.limits.length;
  if (seen.clip) timeline(shown, seen);
  faces(shown, seen);
  truth(shown, file, seen);
  record(shown, reply);
}

function scale(shown, seen) {
  const held = $(".scale", shown);
  held.hidden = false;
  $(".value", held).style.left = `${100 * seen.probability}%`;
  $(".limit", held).style.left = `${100 * seen.limit}%`;
  $(".at", held).textContent = seen.calibrated ? `${percent(seen.probability)} likely forged, at even odds` : `score ${seen.probability.toFixed(2)}, not calibrated`;
  held.setAttribute("role", "img");
  held.setAttribute("aria-label", `${$(".at", held).textContent}; called forged above ${percent(seen.limit)}`);
}

function list(into, sentences) {
  into.replaceChildren(...sentences.map((words) => make("li", words)));
  into.hidden = !sentences.length;
}

function timeline(shown, seen) {
  const told = seen.faces.find((face) => face.decided) || seen.faces[0];
  if (!told || told.moments.length < 2) return;
  const held = $(".time", shown);
  held.hidden = false;
  $(".hint", held).textContent = `How suspicious face ${told.number} looks, moment by moment; dashed is where forged begins. Press one to see it.`;
  const bars = $(".bars", held);
  const video = $("video", shown);
  const line = make("i", "", "line");
  line.style.bottom = `${100 * seen.scoreLimit}%`;
  bars.replaceChildren(line, ...told.moments.map((one) => {
    const button = make("button");
    const bar = make("span");
    button.type = "button";
    button.className = one.score > seen.scoreLimit ? "forged" : "genuine";
    bar.style.height = `${Math.max(3, 100 * one.score)}%`;
    button.append(bar);
    button.title = `${clock(one.time) || `frame ${one.frame}`}: ${one.score.toFixed(2)}`;
    button.setAttribute("aria-label", `${one.time === null ? `Frame ${one.frame}` : `At ${clock(one.time)}`}, score ${one.score.toFixed(2)}`);
    button.addEventListener("click", () => {
      for (const other of bars.querySelectorAll("button")) other.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      if (video && one.time !== null) { video.pause(); video.currentTime = one.time; }
    });
    return button;
  }));
  const [first, last] = [told.moments[0], told.moments.at(-1)];
  const ends = held.querySelectorAll(".ends span");
  ends[0].textContent = clock(first.time) || `frame ${first.frame}`;
  ends[1].textContent = clock(last.time) || `frame ${last.frame}`;
}

function faces(shown, seen) {
  const held = $(".faces", shown);
  if (!seen.faces.some((face) => face.pictures.length)) return;
  held.hidden = false;
  $("h3", held).textContent = seen.faces.length === 1 ? "The face" : `${seen.faces.length} faces`;
  $(".heat input", held).addEventListener("input", (event) => held.style.setProperty("--heat", event.target.value / 100));
  $(".groups", held).replaceChildren(...seen.faces.map((face) => group(face, seen)));
}

function group(face, seen) {
  const made = make("div", "", `group ${face.leftOut ? "unsure" : face.verdict}`);
  if (seen.faces.length > 1 || face.why) {
    const line = make("h4", `Face ${face.number}`);
    const said = face.leftOut ? "left out" : HEADLINES[face.verdict].toLowerCase();
    const when = face.from === null ? "" : `${clock(face.from)} to ${clock(face.until)}`;
    line.append(make("b", said), make("small", [when, face.why].filter(Boolean).join(" · ")));
    made.append(line);
  }
  const tiles = make("div", "", "tiles");
  tiles.append(...face.pictures.map((one) => tile(one, face, seen)));
  made.append(tiles);
  return made;
}

function tile(one, face, seen) {
  const made = make("figure", "", one.score > seen.scoreLimit ? "forged" : "genuine");
  const pair = make("div", "", "pair");
  const image = make("img");
  const heat = make("img", "", "over");
  image.src = one.image;
  heat.src = one.heat;
  const when = !seen.clip ? "picture" : clock(one.time_s) || `frame ${one.frame}`;
  image.alt = `Face ${face.number}, ${when}`;
  heat.alt = "";
  pair.append(image, heat);
  made.title = one.words;
  const caption = make("figcaption", when);
  caption.append(make("b", one.score.toFixed(2)));
  made.append(pair, caption);
  return made;
}

function truth(shown, file, seen) {
  const held = $(".truth", shown);
  const form = $("form", held);
  const thanks = $(".thanks", held);
  held.hidden = !seen.faces.length;
  form.addEventListener("change", () => { $(".method", form).hidden = form.elements.truth.value !== "forged"; });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = new FormData();
    for (const name of ["truth", "method", "source"]) body.append(name, form.elements[name].value);
    body.append("file", file, file.name);
    $("button", form).disabled = true;
    try {
      const told = await ask("/v1/truths", body);
      thanks.className = "thanks";
      thanks.textContent = `Thank you. It is kept as ${told.truth}; ${told.known} ${told.known > 1 ? "files wait" : "file waits"} for a person to look at.`;
    } catch (fault) {
      thanks.className = "thanks bad";
      thanks.textContent = fault.message;
    }
    $("button", form).disabled = false;
  });
}

function record(shown, reply) {
  const held = $(".record", shown);
  held.hidden = false;
  const { file, champion, settings } = reply.answer;
  const facts = {
    file: `${file.kind}, ${file.bytes.toLocaleString("en")} bytes${file.kind === "clip" ? `, ${file.frames} frames` : ""}`,
    "SHA-256": file.sha256,
    origin: file.provenance.words,
    generation: `${champion.generation} of line ${champion.line}, weights ${champion.weights.slice(0, 16)}`,
    faces: `found by ${settings.face_detector}, at most ${settings.frames} frames looked at`,
    answered: `${reply.answer.answered}, in ${reply.seconds.toFixed(2)} s, by perennial ${settings.program} on ${settings.device}`,
    answer: reply.id,
  };
  $("dl", held).replaceChildren(...Object.entries(facts).flatMap(([name, words]) => [make("dt", name), make("dd", words)]));
  $(".save", held).addEventListener("click", () => {
    const { pictures, ...told } = reply;
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(told, null, 2)], { type: "application/json" }));
    link.download = `answer-${reply.id.slice(0, 8)}.json`;
    link.click();
  });
}

// --- who answers

function bytes(count) {
  return count >= 2 ** 30 ? `${(count / 2 ** 30).toFixed(1)} GB` : `${Math.round(count / 2 ** 20)} MB`;
}

async function introduce() {
  ready = await fetch("/readyz").then((answer) => answer.json());
  const limits = ready.limits;
  $("#takes").textContent = `JPEG, PNG, WebP, MP4, MOV, MKV, WebM and others; up to ${bytes(limits.bytes)}, ${Math.round(limits.pixels / 1e6)} megapixels, ${Math.round(limits.seconds / 60)} minutes.`;
  const who = ready.champion;
  const panel = $("#who .panel");
  $("#who").hidden = false;
  const line = make("p", "", "big");
  line.append(make("b", who.generation), ` of line ${who.line}${who.since ? `, champion since ${who.since.slice(0, 10)}` : ""}`);
  const learned = who.taught.map((one) => one.archive);
  const chips = make("ul", "", "chips");
  chips.append(...learned.map((name) => make("li", name)));
  const knows = `It was taught ${learned.length === 1 ? "one archive" : `${learned.length} archives`}. Of other kinds of forgery it may notice nothing.`;
  panel.replaceChildren(line, make("p", `${knows} ${ready.operating_point.words}`, "hint"), chips);
  const measured = Object.entries(ready.measured);
  if (measured.length) panel.append(examined(measured));
}

function examined(measured) {
  const scroll = make("div", "", "scroll");
  const table = make("table");
  const header = make("tr");
  for (const name of ["examined on", "tells genuine from forged (AUC)", "genuine called forged"]) header.append(make("th", name));
  const head = make("thead");
  head.append(header);
  const rows = make("tbody");
  for (const [name, cell] of measured) {
    const row = make("tr");
    row.append(make("th", name));
    for (const [measure, tell] of [["auc", (value) => value.toFixed(3)], ["false_alarms", percent]]) {
      const found = cell[measure];
      const data = make("td", found && found.value !== null ? tell(found.value) : "–");
      if (found && found.low !== null && found.low !== undefined) data.append(" ", make("small", `${tell(found.low)} to ${tell(found.high)}`));
      row.append(data);
    }
    rows.append(row);
  }
  table.append(head, rows);
  scroll.append(table);
  return scroll;
}

// --- dropping, choosing, pasting

const take = (files) => { for (const file of files) begin(file); };
$("#file").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
$("#ask").addEventListener("submit", (event) => event.preventDefault());
addEventListener("paste", (event) => take(event.clipboardData.files));
for (const name of ["dragenter", "dragover"]) addEventListener(name, (event) => { event.preventDefault(); document.body.classList.add("over"); });
for (const name of ["dragleave", "drop"]) addEventListener(name, (event) => { event.preventDefault(); document.body.classList.remove("over"); });
addEventListener("drop", (event) => take(event.dataTransfer.files));
introduce().catch(() => say("The service does not answer."));
