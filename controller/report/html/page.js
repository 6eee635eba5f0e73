"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const views = new Map(); // of the figures that are drawn, by the id of their element

  const narrow = matchMedia("(max-width: 40rem)");

  function records({ titles, rows }) {
    const names = Object.keys(titles);
    return rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]])));
  }

  function table({ titles, rows }) {
    const made = document.createElement("table");
    const head = made.createTHead().insertRow();
    for (const title of Object.values(titles)) {
      const cell = head.appendChild(document.createElement("th"));
      cell.scope = "col";
      cell.textContent = title;
    }
    const body = made.createTBody();
    for (const row of rows.slice(0, report.most_rows)) {
      const line = body.insertRow();
      for (const value of row) line.insertCell().textContent = value ?? "–";
    }
    if (rows.length > report.most_rows) {
      made.createCaption().textContent = `The first ${report.most_rows} of ${rows.length} rows; the CSV file has all.`;
    }
    return made;
  }

  async function draw(element, name) {
    const figure = report.figures[name];
    const datasets = Object.fromEntries(Object.entries(figure.frames).map(([key, frame]) => [key, records(frame)]));
    views.get(element.id)?.finalize();
    const options = {
      actions: false,
      renderer: "svg",
      config: narrow.matches ? { ...report.config, ...report.narrow } : report.config,
      tooltip: { disableDefaultStyle: true },
    };
    const drawn = await vegaEmbed(element.querySelector(".chart"), { ...figure.spec, datasets }, options);
    views.set(element.id, drawn);
    element.querySelector("h3").textContent = figure.title;
    element.querySelector("figcaption").textContent = figure.says;
    const details = element.querySelector(".numbers");
    const place = details.querySelector(".wide");
    place.replaceChildren();
    const fill = () => details.open && !place.hasChildNodes() && place.append(table(Object.values(figure.frames)[0]));
    details.ontoggle = fill;
    fill();
    return drawn;
  }

  function nothing(element, says) {
    views.get(element.id)?.finalize();
    views.delete(element.id);
    element.querySelector(".chart").replaceChildren();
    element.querySelector("figcaption").textContent = says;
    element.querySelector(".numbers .wide").replaceChildren();
  }

  const pipeline = document.getElementById("pipeline");
  const scheme = document.getElementById("scheme");
  const round = document.getElementById("round");

  async function showRound() {
    const name = report.stories[scheme.value].pipelines[round.value];
    if (name === undefined) return nothing(pipeline, "No pipeline: the tasks of this scheme's rounds are not known.");
    await draw(pipeline, name);
  }

  async function showScheme() {
    const story = report.stories[scheme.value];
    round.replaceChildren(...Object.keys(story.pipelines).map((number) => new Option(number, number)));
    await draw(document.getElementById("course"), story.course);
    await showRound();
  }

  function zoom({ target }) {
    const drawn = views.get("pipeline");
    if (!drawn || target.tagName !== "BUTTON") return;
    const { view } = drawn;
    const whole = [0, Math.max(...report.figures[report.stories[scheme.value].pipelines[round.value]].frames.ends.rows.map((row) => row[1]))];
    const [low, high] = target.dataset.all ? whole : view.signal("zoom_start_s") ?? whole;
    const half = ((high - low) / 2) * Number(target.dataset.zoom ?? 1);
    const middle = (low + high) / 2 + (high - low) * Number(target.dataset.move ?? 0);
    view.signal("zoom_start_s", [middle - half, middle + half]).run();
  }

  async function start() {
    if (scheme) {
      scheme.value = report.first;
      scheme.onchange = showScheme;
      round.onchange = showRound;
      document.getElementById("zoom").onclick = zoom;
      await showScheme();
      for (const element of document.querySelectorAll(".grid > figure")) await draw(element, element.id);
    }
    document.body.dataset.drawn = "yes";
  }

  start();
})();
