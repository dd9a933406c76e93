"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const values = byId("values");
  const layers = JSON.parse(byId("layers").textContent);
  const canvas = byId("canvas");
  const nv = new niivue.Niivue({
    isRadiologicalConvention: true, sagittalNoseLeft: true, show3Dcrosshair: false, dragAndDropEnabled: false,
    backColor: [0, 0, 0, 1], crosshairColor: [1, 0.85, 0.2, 1], crosshairWidth: 0.4, fontColor: [1, 1, 1, 1], multiplanarShowRender: 0, isColorbar: false,
    loadingText: "", logLevel: "silent",
  });
  try {
    await nv.attachToCanvas(canvas);
    for (const layer of layers) {
      layer.image = await niivue.NVImage.loadFromBase64({
        base64: layer.data, name: `${layer.title}.nii.gz`, colormap: layer.colours, colormapNegative: layer.negative,
        cal_min: layer.low ?? NaN, cal_max: layer.high ?? NaN, opacity: 0,
        ...(layer.negative ? { cal_minNeg: -layer.high, cal_maxNeg: -layer.low } : {}),
      });
      delete layer.data;
      if (layer.labels) layer.image.setColormapLabel(layer.labels);
      nv.addVolume(layer.image);
    }
  } catch (error) {
    values.textContent = `The viewer cannot start (${error.message ?? error}). It needs a browser with WebGL 2.`;
    throw error;
  }
  const bases = layers.filter((layer) => layer.base);
  const overlays = layers.filter((layer) => !layer.base);
  let chosen = bases[0];

  function control(type, layer, checked, change) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type, name: type === "radio" ? "base" : "", checked });
    input.addEventListener("change", () => change(input));
    label.append(input, ` ${layer.title}`);
    byId(type === "radio" ? "bases" : "overlays").append(label);
  }

  function draw() {
    const opacity = parseFloat(byId("opacity").value);
    for (const layer of layers) {
      const index = nv.volumes.indexOf(layer.image);
      nv.setOpacity(index, layer.base ? Number(layer === chosen) : layer.on ? (layer.outline ? 1 : opacity) : 0);
    }
    byId("low").value = Math.round(chosen.image.cal_min);
    byId("high").value = Math.round(chosen.image.cal_max);
    for (const button of byId("window").querySelectorAll("button")) button.disabled = !chosen.ct;
  }

  // One window for all CT images, so that the synthetic and the reference image can be compared.
  function window_(low, high) {
    if (!(low < high)) return;
    for (const layer of bases.filter((other) => other === chosen || (chosen.ct && other.ct))) {
      layer.image.cal_min = low;
      layer.image.cal_max = high;
    }
    nv.updateGLVolume();
    draw();
  }

  function side(mm, positive, negative) {
    return `${mm >= 0 ? positive : negative} ${Math.abs(mm).toFixed(1)}`;
  }

  nv.onLocationChange = (place) => {
    const parts = layers.map((layer) => {
      const found = place.values[nv.volumes.indexOf(layer.image)];
      if (!found || layer.outline) return "";
      if (layer.labels) return `${layer.title}: ${layer.labels.labels[layer.labels.I.indexOf(Math.round(found.value))] || "none"}`;
      const digits = layer.unit === "HU" || Math.abs(found.value) >= 100 ? 0 : 2;
      return `${layer.title.split(",")[0]}: ${found.value.toFixed(digits)} ${layer.unit}`.trim();
    });
    const [x, y, z] = place.mm;
    values.textContent = [`${side(x, "R", "L")}, ${side(y, "A", "P")}, ${side(z, "S", "I")} mm`, ...parts.filter(Boolean)].join("   |   ");
  };

  for (const layer of bases) control("radio", layer, layer === chosen, () => { chosen = layer; draw(); });
  for (const layer of overlays) {
    layer.on = Boolean(layer.labels);
    control("checkbox", layer, layer.on, (input) => { layer.on = input.checked; draw(); });
  }
  for (const button of byId("window").querySelectorAll("button")) {
    button.addEventListener("click", () => window_(parseFloat(button.dataset.low), parseFloat(button.dataset.high)));
  }
  for (const id of ["low", "high"]) byId(id).addEventListener("change", () => window_(parseFloat(byId("low").value), parseFloat(byId("high").value)));
  byId("opacity").addEventListener("input", draw);
  byId("view").addEventListener("change", () => nv.setSliceType(parseInt(byId("view").value, 10)));
  const moves = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    nv.moveCrosshairInVox(...move);
  }, { capture: true });
  nv.setSliceType(3);
  nv.scene.crosshairPos = nv.mm2frac(JSON.parse(byId("start").textContent));
  draw();
  nv.createOnLocationChange();
  document.documentElement.dataset.ready = "true";
})();
