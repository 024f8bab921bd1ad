import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

/**
 * The folders that each folder may import, beside itself and the files right in src/, which import none: imports point one
 * way. docs/structure.md says what each is for.
 */
const MAY_IMPORT = {
  data: [],
  draw: [],
  metrics: [],
  reference: [],
  gpu: [],
  kernels: ["gpu"],
  nn: ["gpu", "kernels", "reference"],
  interop: ["nn"],
  testing: ["gpu", "kernels", "nn", "reference"],
  train: ["gpu", "kernels", "nn", "data", "metrics"],
  profile: ["gpu", "nn", "train", "data", "draw"],
  study: ["gpu", "kernels", "nn", "train", "data", "draw", "metrics"],
  bench: ["gpu", "kernels", "nn", "train", "data", "draw", "reference"],
};
const FOLDERS = [...Object.keys(MAY_IMPORT), "cli"];

const onlyFrom = (files, allowed, own) => ({
  files: [files],
  ignores: ["src/index.ts"],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: [
          {
            regex: `^[./]+/(src/)?(${FOLDERS.filter((f) => f !== own && !allowed.includes(f)).join("|")})/`,
            message: `${files} may import ${["files right in src/", ...allowed].join(", ")}; see docs/structure.md.`,
          },
        ],
      },
    ],
  },
});

const direction = [
  onlyFrom("src/*.ts", []),
  ...Object.entries(MAY_IMPORT).map(([folder, allowed]) =>
    onlyFrom(folder === "bench" ? "bench/*.ts" : `src/${folder}/**/*.ts`, allowed, folder),
  ),
];

export default defineConfig(
  { ignores: ["dist/", "node_modules/", "out/", "study/", "data/"] },
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
    },
  },
  {
    // Hot loops on the host index typed arrays whose bounds the loop itself states.
    files: [
      "src/reference/**/*.ts",
      "src/data/**/*.ts",
      "src/metrics/**/*.ts",
      "test/**/*.ts",
      "bench/**/*.ts",
    ],
    rules: { "@typescript-eslint/no-non-null-assertion": "off" },
  },
  {
    files: ["test/**/*.ts"],
    ignores: ["test/support/skip.ts"],
    rules: {
      "@typescript-eslint/no-unused-expressions": "off",
      "no-restricted-syntax": [
        "error",
        {
          selector: "CallExpression[callee.property.name='skip']",
          message:
            "A test that skips says why: skip(this, reason) or skipUnless() of test/support/skip.ts.",
        },
      ],
    },
  },
  {
    files: ["**/*.{js,mjs}"],
    languageOptions: {
      globals: {
        console: "readonly",
        process: "readonly",
        URL: "readonly",
        fetch: "readonly",
        Buffer: "readonly",
        setTimeout: "readonly",
      },
    },
  },
  ...direction,
);
