import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { packageRoot } from '../infra/config/package-root.js';
import { forbiddenImport } from './support/import-arrows.js';
import { nodesOf, placeOf, readSourceFiles, type SourceFile } from './support/source-files.js';

const files = readSourceFiles();

/** `file:line reason` of everything in these files that a rule finds wrong. */
function findings(among: readonly SourceFile[], rule: (node: ts.Node) => string | undefined): string[] {
  return among.flatMap((file) =>
    [...nodesOf(file.tree)].flatMap((node) => {
      const reason = rule(node);
      return reason === undefined ? [] : [`${placeOf(file, node)} ${reason}`];
    }),
  );
}

/** The text of a dotted name like `process.env`, without blanks; empty for anything else. */
function dottedName(node: ts.Node): string {
  return ts.isPropertyAccessExpression(node) ? node.getText().replace(/\s|\?/g, '') : '';
}

describe('the rooms', () => {
  it('import only what architecture.md 2 allows them', () => {
    const wrong = files.flatMap((file) =>
      file.imports.flatMap((imported) => {
        const reason = forbiddenImport(file, imported);
        return reason === undefined ? [] : [`${file.path}: ${reason}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  it('say the extension of every file they import', () => {
    const specifiers = findings(files, (node) => {
      if (!ts.isImportDeclaration(node) && !ts.isExportDeclaration(node)) return undefined;
      const specifier = node.moduleSpecifier;
      if (specifier === undefined || !ts.isStringLiteral(specifier)) return undefined;
      return /^\..*(?<!\.js)$/.test(specifier.text) ? `imports ${specifier.text} without .js` : undefined;
    });
    expect(specifiers).toEqual([]);
  });

  it('read process.env in infra/config only', () => {
    const outside = files.filter((file) => !file.path.startsWith('infra/config/'));
    const readers = findings(outside, (node) =>
      dottedName(node) === 'process.env' ? 'reads process.env' : undefined,
    );
    expect(readers).toEqual([]);
  });

  it('compare secrets in constant time only, by isSameSecret (requirements.md A.2.d 37)', () => {
    const compares = findings(files, (node) => {
      if (!ts.isBinaryExpression(node) || !equalities.has(node.operatorToken.kind)) return undefined;
      const sides = [node.left, node.right];
      // Whether there is one is no comparison of it.
      if (sides.some(isFixedValue)) return undefined;
      const secret = sides.map(lastName).find((name) => secretName.test(name));
      return secret === undefined ? undefined : `compares ${secret} with ${node.operatorToken.getText()}`;
    });
    expect(compares).toEqual([]);
  });

  it('export by name', () => {
    const defaults = findings(files, (node) => {
      const isDefault = ts.isExportAssignment(node) || node.kind === ts.SyntaxKind.DefaultKeyword;
      if (!isDefault || ts.isDefaultClause(node.parent)) return undefined;
      return 'exports by default';
    });
    expect(defaults).toEqual([]);
  });

  it('have no file that is named after nothing', () => {
    const nameless = /(^|[-./])(utils?|helpers?|misc|common|shared)([-./]|$)/;
    expect(files.map((file) => file.path).filter((path) => nameless.test(path))).toEqual([]);
  });

  it('name files in kebab-case', () => {
    const strange = files
      .map((file) => basename(file.path, '.ts'))
      .filter((name) => !/^[a-z0-9]+([.-][a-z0-9]+)*$/.test(name));
    expect(strange).toEqual([]);
  });
});

const secretName = /(?:token|secret|signature|digest|password|apikey)$/i;
const equalities = new Set([
  ts.SyntaxKind.EqualsEqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsEqualsToken,
  ts.SyntaxKind.EqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsToken,
]);

/** `undefined`, `null`, `''`, a number: nothing that could be guessed. */
function isFixedValue(node: ts.Expression): boolean {
  return (
    ts.isLiteralExpression(node) ||
    node.kind === ts.SyntaxKind.NullKeyword ||
    node.kind === ts.SyntaxKind.TrueKeyword ||
    node.kind === ts.SyntaxKind.FalseKeyword ||
    (ts.isIdentifier(node) && node.text === 'undefined')
  );
}

/** The last name of `a`, `a.b` or `a?.b`. */
function lastName(node: ts.Expression): string {
  if (ts.isIdentifier(node)) return node.text;
  return ts.isPropertyAccessExpression(node) ? node.name.text : '';
}

describe('domain/', () => {
  const domain = files.filter((file) => file.room === 'domain');

  it('knows no clock, no chance, no process and no timer', () => {
    const names = new Set(['Date.now', 'Math.random', 'performance.now', 'crypto.randomUUID']);
    const globals = new Set([
      'process',
      'globalThis',
      'setTimeout',
      'setInterval',
      'setImmediate',
      'queueMicrotask',
      'fetch',
      'console',
    ]);
    const impure = findings(domain, (node) => {
      if (names.has(dottedName(node))) return `uses ${dottedName(node)}`;
      if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length)
        return 'reads the clock';
      if (ts.isIdentifier(node) && globals.has(node.text) && !isPropertyName(node))
        return `uses ${node.text}`;
      return undefined;
    });
    expect(impure).toEqual([]);
  });

  it('does nothing asynchronous', () => {
    const asynchronous = findings(domain, (node) => {
      if (node.kind === ts.SyntaxKind.AsyncKeyword) return 'is async';
      if (ts.isAwaitExpression(node)) return 'awaits';
      return ts.isIdentifier(node) && node.text === 'Promise' ? 'uses Promise' : undefined;
    });
    expect(asynchronous).toEqual([]);
  });
});

/** A name after a dot or before a colon: a property that happens to be called like a global. */
function isPropertyName(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node;
  return ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent) ? parent.name === node : false;
}

describe('the dependencies', () => {
  const versions = z.record(z.string(), z.string());
  const manifest = z
    .object({ dependencies: versions, devDependencies: versions })
    .parse(readJson('package.json'));
  const lockText = readFileSync(join(packageRoot(), 'package-lock.json'), 'utf8');
  const lock = z
    .object({
      packages: z.record(
        z.string(),
        z.object({
          version: z.string().optional(),
          resolved: z.string().optional(),
          optionalDependencies: versions.optional(),
        }),
      ),
    })
    .parse(JSON.parse(lockText)).packages;

  it('are pinned exactly', () => {
    const exact = /^(npm:[\w@/-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/;
    const loose = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies }).filter(
      ([, version]) => !exact.test(version),
    );
    expect(loose).toEqual([]);
  });

  it('are locked without a download address', () => {
    const addressed = Object.entries(lock).filter(([, entry]) => entry.resolved !== undefined);
    expect(addressed).toEqual([]);
    const hosts = [
      ...lockText.matchAll(
        /"(?:resolved|tarball|registry)"|https?:\/\/(?:localhost|127\.|10\.|192\.168\.)[^"]*/g,
      ),
    ];
    expect(hosts.map(([found]) => found)).toEqual([]);
  });

  it('are locked for every platform, so that `npm ci` passes (else: node tools/complete-lock.mjs)', () => {
    const missing = Object.entries(lock).flatMap(([path, entry]) =>
      Object.keys(entry.optionalDependencies ?? {}).filter(
        (name) => !(`node_modules/${name}` in lock || `${path}/node_modules/${name}` in lock),
      ),
    );
    expect(missing).toEqual([]);
  });

  it('give @temporalio one protobufjs, without which no history can be loaded', () => {
    expect(lock['node_modules/protobufjs']?.version).toBe(manifest.dependencies.protobufjs);
    expect(manifest.dependencies.protobufjs).toMatch(/^8\./);
    const nested = Object.keys(lock).filter((path) =>
      /^node_modules\/@temporalio\/.*\/protobufjs$/.test(path),
    );
    expect(nested).toEqual([]);
  });
});

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(join(packageRoot(), name), 'utf8'));
}
