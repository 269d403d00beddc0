import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { packageRoot } from '../../infra/config/package-root.js';
import { defaultScenario } from './default-scenario.js';
import type { Scenario, ScenarioInput } from './scenario.js';
import { scenarioNameSchema, scenarioSchema } from './scenario.js';
import { fillInParams } from './template.js';

/** What a prompt asks for: `[[scenario:NAME key=value ...]]`. */
export interface Marker {
  readonly name: string;
  readonly params: Readonly<Record<string, string>>;
}

/** The prompt asks for a scenario that is not there, or with a parameter that it does not take. */
export class UnknownScenarioError extends Error {
  override readonly name = 'UnknownScenarioError';
}

/** A scenario file that cannot be used; the message names the file and every wrong field. */
export class ScenarioFileError extends Error {
  override readonly name = 'ScenarioFileError';
}

const marker = /\[\[scenario:([a-z0-9-]+)((?:\s+[a-zA-Z]+=[\w.,:@/+-]*)*)\s*\]\]/;
const documentSchema = z.looseObject({
  name: scenarioNameSchema,
  params: z.record(z.string(), z.string()).default({}),
});
type ScenarioDocument = z.infer<typeof documentSchema>;

/** Folder of the scenarios that come with AgentRun. They are not compiled, so they are found from the package root. */
export function builtInScenarioDir(): string {
  return join(packageRoot(), 'tools', 'scripted-model', 'scenarios');
}

/** The marker in a text, or null. The first one counts. */
export function markerIn(text: string): Marker | null {
  const found = marker.exec(text);
  if (!found?.[1]) return null;
  const params = (found[2] ?? '').split(/\s+/).filter((pair) => pair !== '');
  return { name: found[1], params: Object.fromEntries(params.map(splitPair)) };
}

/** A text without its markers, as a model would repeat it. */
export function withoutMarkers(text: string): string {
  return text.replaceAll(new RegExp(marker, 'g'), '').trim();
}

/**
 * The scenarios a server can play, by name. A later one with the same name replaces an earlier one: first the
 * default scenario, then the folders in their order, then the given ones.
 *
 * @throws ScenarioFileError when a scenario does not fit the schema with its default parameters.
 */
export class ScenarioLibrary {
  private readonly documents = new Map<string, ScenarioDocument>();

  constructor(dirs: readonly string[], scenarios: readonly ScenarioInput[] = []) {
    this.add(defaultScenario, 'the default scenario');
    for (const dir of dirs) for (const file of jsonFiles(dir)) this.add(readJson(file), file);
    for (const scenario of scenarios) this.add(scenario, `scenario "${scenario.name}"`);
  }

  names(): string[] {
    return [...this.documents.keys()].sort();
  }

  /** @throws UnknownScenarioError for a name or a parameter that does not exist, or a value that does not fit. */
  instantiate(wanted: Marker): Scenario {
    const document = this.documents.get(wanted.name);
    if (!document) {
      throw new UnknownScenarioError(`no scenario "${wanted.name}" (known: ${this.names().join(', ')})`);
    }
    for (const name of Object.keys(wanted.params)) {
      if (name in document.params) continue;
      const known = Object.keys(document.params).join(', ') || 'none';
      throw new UnknownScenarioError(
        `scenario "${wanted.name}" has no parameter "${name}" (known: ${known})`,
      );
    }
    const result = parseDocument(document, { ...document.params, ...wanted.params });
    if (result.success) return result.data;
    throw new UnknownScenarioError(`scenario "${wanted.name}": ${z.prettifyError(result.error)}`);
  }

  private add(value: unknown, origin: string): void {
    const document = documentSchema.safeParse(value);
    if (!document.success) throw new ScenarioFileError(`${origin}: ${z.prettifyError(document.error)}`);
    const result = parseDocument(document.data, document.data.params);
    if (!result.success) throw new ScenarioFileError(`${origin}: ${z.prettifyError(result.error)}`);
    this.documents.set(document.data.name, document.data);
  }
}

function parseDocument(document: ScenarioDocument, params: Readonly<Record<string, string>>) {
  const { params: declared, ...rest } = document;
  const filled = fillInParams(rest, params);
  return scenarioSchema.safeParse(typeof filled === 'object' ? { ...filled, params: declared } : filled);
}

function jsonFiles(dir: string): string[] {
  const names = readdirSync(dir).filter((name) => name.endsWith('.json'));
  return names.sort().map((name) => join(dir, name));
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new ScenarioFileError(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function splitPair(pair: string): [string, string] {
  const at = pair.indexOf('=');
  return [pair.slice(0, at), pair.slice(at + 1)];
}
