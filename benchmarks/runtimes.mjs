// One core graph by onnxruntime's JavaScript: `run` for Node and for a page; called by runtimes.py.

const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, bool: Uint8Array };

function bytes(text) { return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)); }

export async function run(ort, options, work) {
  let session, level = "";
  try {
    session = await ort.InferenceSession.create(bytes(work.model), options);
  } catch { // 1.30 fuses a sigmoid of doubles into what it has for floats alone
    level = ", graphOptimizationLevel basic";
    session = await ort.InferenceSession.create(bytes(work.model), { ...options, graphOptimizationLevel: "basic" });
  }
  const feeds = {};
  for (const [name, { type, dims, data }] of Object.entries(work.feeds)) {
    feeds[name] = new ort.Tensor(type, new ARRAYS[type](bytes(data).buffer), dims);
  }
  const outputs = await session.run(feeds, [work.output]);
  return { level, values: Array.from(outputs[work.output].data, Number) };
}

if (typeof process !== "undefined" && process.argv[2]) {
  const { readFileSync } = await import("node:fs");
  const { createRequire } = await import("node:module");
  const folder = process.argv[2];
  const ort = createRequire(`${folder}/`)("onnxruntime-node");
  const found = await run(ort, { intraOpNumThreads: 1 }, JSON.parse(readFileSync(`${folder}/work.json`)));
  console.log(JSON.stringify(found));
}
