/**
 * Opens the adapter as the engine does and prints one line of JSON: `{ adapter }` or `{ error }`. A process of its own,
 * because a bad driver may take its process down, and because a driver installed later is seen only by a new one.
 */
import { openAdapter } from "../dist/src/gpu/adapter.js";

try {
  const { summary } = await openAdapter();
  console.log(JSON.stringify({ adapter: summary }));
} catch (error) {
  console.log(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }));
}
