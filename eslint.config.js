import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

// Imports point one way: gpu <- kernels <- nn <- train <- testing <- study <- cli (docs: STYLE). Host-only folders import no GPU code.
const LAYERS = ["gpu", "kernels", "nn", "train", "testing", "study", "cli"];
const HOST_ONLY = ["data", "metrics", "reference", "draw"];
const folder = (name) => `**/${name}/**`;

const direction = LAYERS.slice(0, -1).map((name, index) => ({
  files: [`src/${name}/**/*.ts`],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: [
          {
            group: LAYERS.slice(index + 1).map(folder),
            message: `src/${name} must not import from a layer above it (${LAYERS.join(" <- ")}).`,
          },
        ],
      },
    ],
  },
}));

const hostOnly = HOST_ONLY.map((name) => ({
  files: [`src/${name}/**/*.ts`],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: [
          {
            group: LAYERS.map(folder),
            message: `src/${name} runs on the host only; no GPU imports.`,
          },
        ],
      },
    ],
  },
}));

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
  ...hostOnly,
);
