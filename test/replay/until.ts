import type { FakeWorld } from '../workflows/fake-activities.js';

/** Waits at most 30 s until something holds; the error says what. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await holds()); ) {
    if (Date.now() > deadline) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits until a workflow has asked for a step. */
export const asked = (world: FakeWorld, call: string) => until(call, () => world.calls.includes(call));
