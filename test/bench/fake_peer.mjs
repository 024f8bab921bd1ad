// A peer for the tests: dense layers in plain loops, and the ways in which an engine can fail.
import { randomValues, SEEDS, serve } from "../../bench/peers/peer.mjs";

await serve(() => ({
  engine: "fake",
  version: "1",
  adapter: "none",
  prepare({ work: { n, inC, outC }, pass }) {
    const how = process.env.FAKE;
    if (how === "refuses") throw new Error("no dense layers here");
    if (how === "crashes") {
      process.stderr.write("out of everything\n");
      process.exit(3);
    }
    if (how === "hangs") return new Promise(() => undefined);
    if (pass !== "forward") throw new Error("forward only");
    console.log("a library that talks");
    const x = randomValues(n * inC, SEEDS.x);
    const w = randomValues(inC * outC, SEEDS.w);
    const y = Array.from({ length: n * outC }, (_, at) => {
      let sum = how === "errs" ? 1e-3 : 0;
      for (let i = 0; i < inC; i++)
        sum += x[Math.floor(at / outC) * inC + i] * w[i * outC + (at % outC)];
      return sum;
    });
    return {
      values: (at) => at.map((i) => y[i]),
      run: () => undefined,
      wait: () => new Promise((resolve) => setTimeout(resolve, 1)),
      close: () => undefined,
    };
  },
}));
