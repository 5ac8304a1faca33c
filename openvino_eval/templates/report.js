"use strict";
(() => {
  const palettes = JSON.parse(document.getElementById("palettes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll(".plot")];
  let printing = false;

  const unpacked = async () => {
    const packed = document.getElementById("plotly-gzip");
    const bytes = Uint8Array.from(atob(packed.textContent.trim()), (character) => character.charCodeAt(0));
    packed.remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };

  const translucent = (colour, alpha) => {
    const part = (start) => parseInt(colour.slice(start, start + 2), 16);
    return `rgba(${part(1)}, ${part(3)}, ${part(5)}, ${alpha})`;
  };

  // A colour is a name of the palette, so that the same plot serves the light page, the dark one, and paper.
  const coloured = (value, palette) => {
    if (typeof value === "string" && value.startsWith("$")) {
      const name = value.slice(1);
      const soft = name.startsWith("series-") && name.endsWith("-soft");
      return soft ? translucent(palette[name.slice(0, -5)], 0.16) : palette[name];
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, palette));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, palette)]));
    }
    return value;
  };

  const common = (palette, width) => {
    const axis = {
      gridcolor: palette.line, linecolor: palette.line, zerolinecolor: palette.line, tickcolor: palette.line,
      tickfont: { color: palette.quiet, size: 11.5 }, automargin: true, fixedrange: false,
    };
    return {
      axis,
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: palette.text },
        margin: { l: 58, r: 14, t: 14, b: 44 },
        hoverlabel: { bgcolor: palette.card, bordercolor: palette.line, font: { color: palette.text, size: 12.5 }, align: "left" },
        legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 } },
        ...(width ? { width } : {}),
      },
    };
  };

  const draw = (element, width) => {
    const spec = (element.spec ??= JSON.parse(document.getElementById(`${element.id}-data`).textContent));
    const palette = palettes[dark.matches && !printing ? "dark" : "light"];
    const base = common(palette, width);
    const select = document.getElementById(`${element.id}-choice`);
    const choice = select ? spec.choices[select.selectedIndex] : null;
    if (choice) document.getElementById(`${element.id}-caption`).textContent = choice.caption;
    const layout = { ...base.layout, ...coloured(spec.layout, palette) };
    layout.legend = { ...base.layout.legend, ...layout.legend };
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
      layout[key] = { ...base.axis, ...layout[key], title: { standoff: 12, ...layout[key].title, font: { color: palette.quiet, size: 12.5 } } };
    }
    const data = coloured(choice ? choice.data : spec.data, palette);
    // The names of many points need a wide plot; a tap shows that of one.
    if (element.clientWidth < 500) {
      for (const trace of data) trace.mode &&= trace.mode.replace("markers+text", "markers");
    }
    if (!element.drawn) element.replaceChildren();
    element.drawn = true;
    return Plotly.react(element, data, layout, {
      displaylogo: false, responsive: !width,
      // Where nothing hovers, as on a phone or in a screenshot, Plotly would show it always, over the plot.
      displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
  };

  // Hidden plots have no width to be drawn in.
  const visible = (element) => element.offsetParent !== null;
  const drawAll = () => plots.filter((element) => element.drawn || visible(element)).forEach((element) => draw(element));

  addEventListener("beforeprint", () => {
    printing = true;
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.dataset.closed = "";
      details.open = true;
    }
    plots.forEach((element) => draw(element, 660));
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const details of document.querySelectorAll("details[data-closed]")) {
      delete details.dataset.closed;
      details.open = false;
    }
    plots.forEach((element) => Plotly.purge(element));
    plots.forEach((element) => (element.drawn = false));
    drawAll();
  });

  for (const button of document.querySelectorAll("button[data-copies]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
      button.textContent = "Copied";
    });
  }

  unpacked().then(() => {
    dark.addEventListener("change", drawAll);
    for (const element of plots) {
      document.getElementById(`${element.id}-choice`)?.addEventListener("change", () => draw(element));
    }
    for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", () => printing || drawAll());
    drawAll();
    document.documentElement.dataset.drawn = "yes";
  });
})();
