/* Interactive figures: films, comparisons before and after, and the profile of an edge.
   Without this script, pages show the same pictures side by side. */
(function () {
  "use strict";

  function element(tag, properties, parent) {
    const node = Object.assign(document.createElement(tag), properties);
    if (parent) parent.append(node);
    return node;
  }

  function slider(label, max, value, parent) {
    const row = element("label", { className: "figure-row" }, parent);
    element("span", { textContent: label }, row);
    return element("input", { type: "range", min: 0, max: max, step: 1, value: value }, row);
  }

  function whenLoaded(image, build) {
    if (image.complete && image.naturalWidth) build();
    else image.addEventListener("load", build, { once: true });
  }

  /* A picture with all frames in a grid becomes a film with a slider and a button. */
  function film(image) {
    const name = decodeURIComponent(image.src).split("/").pop().replace("_film.png", "");
    const settings = (window.diffusionFilms || {})[name];
    if (!settings) return;
    const labels = settings.labels;
    const width = image.naturalWidth / settings.columns;
    const height = image.naturalHeight / Math.ceil(labels.length / settings.columns);
    const figure = element("div", { className: "figure-box" });
    const canvas = element("canvas", { width: width, height: height }, figure);
    canvas.setAttribute("role", "img");
    const text = element("p", { className: "figure-text" }, figure);
    text.setAttribute("aria-live", "polite");
    const time = slider("Diffusion time", labels.length - 1, 0, figure);
    const button = element("button", { type: "button", textContent: "Play" }, figure);
    let timer = null;
    function show() {
      const k = Number(time.value);
      const x = (k % settings.columns) * width;
      const y = Math.floor(k / settings.columns) * height;
      canvas.getContext("2d").drawImage(image, x, y, width, height, 0, 0, width, height);
      text.textContent = settings.seen + ", " + labels[k] + ".";
      canvas.setAttribute("aria-label", text.textContent);
      time.setAttribute("aria-valuetext", labels[k]);
    }
    function stop() {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play";
    }
    button.addEventListener("click", function () {
      if (timer) return stop();
      if (Number(time.value) === labels.length - 1) time.value = 0;
      button.textContent = "Stop";
      timer = setInterval(function () {
        time.value = Number(time.value) + 1;
        show();
        if (Number(time.value) === labels.length - 1) stop();
      }, 700);
    });
    time.addEventListener("input", function () { stop(); show(); });
    image.after(figure);
    image.hidden = true;
    show();
  }

  /* The first two of three panels become one picture that is filtered left of a movable line. */
  function beforeAfter(image) {
    const gap = 8;
    const width = Math.round((image.naturalWidth - 2 * gap) / 3);
    const height = image.naturalHeight;
    const figure = element("div", { className: "figure-box" });
    const canvas = element("canvas", { width: width, height: height }, figure);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", image.alt + ": filtered at the left, noisy at the right");
    const part = slider("Noisy → filtered", 100, 50, figure);
    function show() {
      const drawing = canvas.getContext("2d");
      const edge = Math.round((width * Number(part.value)) / 100);
      drawing.drawImage(image, 0, 0, width, height, 0, 0, width, height);
      if (edge) drawing.drawImage(image, width + gap, 0, edge, height, 0, 0, edge, height);
      drawing.fillStyle = "#ffb000";
      drawing.fillRect(edge - 1, 0, 2, height);
      part.setAttribute("aria-valuetext", part.value + " % filtered");
    }
    part.addEventListener("input", show);
    image.after(figure);
    show();
  }

  /* The profile of a noisy edge after Perona-Malik diffusion, from stored results. */
  function profile(figure) {
    const data = window.diffusionProfiles;
    if (!data) return;
    figure.textContent = "";
    figure.classList.add("figure-box");
    const canvas = element("canvas", { width: 720, height: 300 }, figure);
    canvas.setAttribute("role", "img");
    const text = element("p", { className: "figure-text" }, figure);
    text.setAttribute("aria-live", "polite");
    const kappa = slider("Edge threshold κ", data.kappas.length - 1, 2, figure);
    const time = slider("Diffusion time T", data.times.length - 1, 5, figure);
    function line(drawing, values, colour, thickness) {
      drawing.beginPath();
      values.forEach(function (value, k) {
        const x = 10 + (k * 700) / (values.length - 1);
        const y = 290 - (value * 280) / 100;
        if (k) drawing.lineTo(x, y);
        else drawing.moveTo(x, y);
      });
      drawing.strokeStyle = colour;
      drawing.lineWidth = thickness;
      drawing.stroke();
    }
    function show() {
      const style = getComputedStyle(document.documentElement);
      const drawing = canvas.getContext("2d");
      const k = Number(kappa.value), t = Number(time.value);
      drawing.clearRect(0, 0, canvas.width, canvas.height);
      line(drawing, data.image, style.getPropertyValue("--pst-color-text-muted") || "#777", 1);
      line(drawing, data.results[k][t], style.getPropertyValue("--pst-color-primary") || "#06c", 3);
      text.textContent =
        "κ = " + data.kappas[k] + " per pixel, T = " + data.times[t] +
        " pixel². Thin: the noisy profile. Thick: the result.";
      canvas.setAttribute("aria-label", text.textContent);
      kappa.setAttribute("aria-valuetext", String(data.kappas[k]));
      time.setAttribute("aria-valuetext", String(data.times[t]));
    }
    kappa.addEventListener("input", show);
    time.addEventListener("input", show);
    new MutationObserver(show).observe(document.documentElement, {
      attributes: true,
      attributeFilter: ["data-theme"],
    });
    show();
  }

  function start() {
    document.querySelectorAll("img.film").forEach(function (image) {
      whenLoaded(image, function () { film(image); });
    });
    document.querySelectorAll("img.before-after").forEach(function (image) {
      whenLoaded(image, function () { beforeAfter(image); });
    });
    document.querySelectorAll(".profile-figure").forEach(profile);
    /* The theme gives these buttons of the side bar no name for screen readers. */
    document.querySelectorAll("summary:has(> .toctree-toggle)").forEach(function (summary) {
      summary.setAttribute("aria-label", "Pages below");
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
