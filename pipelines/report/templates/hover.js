// Shows, under a distribution, the share of requests at or below the latency the pointer is at.
for (const svg of document.querySelectorAll("svg[data-ecdf]")) {
  const data = JSON.parse(svg.dataset.ecdf), cross = svg.querySelector(".cross");
  const out = svg.closest("figure").querySelector(".readout");
  const shareAt = (one, ms) => one.share[one.ms.findLastIndex((value) => value <= ms)] ?? 0;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const part = Math.min(1, Math.max(0, (x - data.start) / (data.end - data.start)));
    const ms = data.low * (data.high / data.low) ** part, at = data.start + part * (data.end - data.start);
    cross.setAttribute("x1", at);
    cross.setAttribute("x2", at);
    cross.classList.add("on");
    const shares = data.series.map((one) => `${one.name} ${(shareAt(one, ms) * 100).toFixed(1)} %`);
    out.textContent = `at or below ${ms.toPrecision(3)} ms: ${shares.join(", ")}`;
  });
  svg.addEventListener("pointerleave", () => {
    cross.classList.remove("on");
    out.textContent = "\u00a0";
  });
}
