import { readdirSync, readFileSync } from 'node:fs';
import { join, posix, relative } from 'node:path';
import ts from 'typescript';
import { packageRoot } from '../../infra/config/package-root.js';

/** The top-level folders of architecture.md 2 that hold TypeScript. */
export const rooms = [
  'contract',
  'domain',
  'workflows',
  'activities',
  'infra',
  'store',
  'worker',
  'api',
  'runner',
  'cli',
  'client',
  'tools',
] as const;

export type Room = (typeof rooms)[number];

/** One import or re-export of a file. */
export interface Import {
  /** `zod`, `node:fs`, or for a file of ours its path from the package's root (`domain/ids.ts`). */
  readonly target: string;
  readonly isOwn: boolean;
  /** Leaves no trace at run time (`import type`, or only `type` names). */
  readonly isTypeOnly: boolean;
}

/** A parsed source file; `path` is relative to the package's root, with slashes. */
export interface SourceFile {
  readonly path: string;
  readonly room: Room;
  readonly imports: readonly Import[];
  readonly tree: ts.SourceFile;
}

/** All source files of all rooms. */
export function readSourceFiles(): SourceFile[] {
  return rooms.flatMap((room) =>
    filesBelow(join(packageRoot(), room)).map((file) => {
      const path = relative(packageRoot(), file).replaceAll('\\', '/');
      const tree = ts.createSourceFile(path, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2023, true);
      return { path, room, imports: importsOf(tree, path), tree };
    }),
  );
}

/** Every node of a tree, the outermost first. */
export function* nodesOf(node: ts.Node): Generator<ts.Node> {
  yield node;
  for (const child of node.getChildren()) yield* nodesOf(child);
}

/** `file:line` of a node, for a message that an editor can follow. */
export function placeOf(file: SourceFile, node: ts.Node): string {
  return `${file.path}:${file.tree.getLineAndCharacterOfPosition(node.getStart()).line + 1}`;
}

function filesBelow(folder: string): string[] {
  let entries: ReturnType<typeof readEntries>;
  try {
    entries = readEntries(folder);
  } catch {
    return [];
  }
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

function readEntries(folder: string) {
  return readdirSync(folder, { recursive: true, withFileTypes: true });
}

function importsOf(tree: ts.SourceFile, path: string): Import[] {
  const imports: Import[] = [];
  const add = (specifier: ts.Node | undefined, isTypeOnly: boolean) => {
    if (specifier !== undefined && ts.isStringLiteralLike(specifier)) {
      imports.push(resolveImport(path, specifier.text, isTypeOnly));
    }
  };
  for (const node of nodesOf(tree)) {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeImport(node.importClause));
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, true);
    }
  }
  return imports;
}

function isTypeImport(clause: ts.ImportClause | undefined): boolean {
  if (clause === undefined) return false;
  if (clause.isTypeOnly) return true;
  const names = clause.namedBindings;
  if (clause.name !== undefined || names === undefined || !ts.isNamedImports(names)) return false;
  return names.elements.length > 0 && names.elements.every((element) => element.isTypeOnly);
}

function resolveImport(from: string, specifier: string, isTypeOnly: boolean): Import {
  if (!specifier.startsWith('.')) return { target: specifier, isOwn: false, isTypeOnly };
  const target = posix.normalize(posix.join(posix.dirname(from), specifier)).replace(/\.js$/, '.ts');
  return { target, isOwn: true, isTypeOnly };
}
