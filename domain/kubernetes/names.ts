/** What is wrong with the name of a Job or Secret that is also a label's value and part of a pod's name; undefined: nothing. */
export function jobNameProblem(name: string): string | undefined {
  if (name.length > 63) return `${name} has ${name.length} characters, a Job may have 63`;
  return /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name)
    ? undefined
    : `${name} is no name of a Job: lower-case letters, digits and dashes, with a letter or digit at both ends`;
}

/** As {@link jobNameProblem}, for names that may hold dots: volume claims, priority classes and the like. */
export function objectNameProblem(name: string): string | undefined {
  if (name.length > 253) return `a name may have 253 characters, not ${name.length}`;
  return /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(name)
    ? undefined
    : `${name} is no name: lower-case letters, digits, dashes and dots, with a letter or digit at both ends`;
}

/** What is wrong with a label's or an annotation's key; undefined: nothing. */
export function keyProblem(key: string): string | undefined {
  const parts = key.split('/');
  const name = parts.at(-1) ?? '';
  const isKey =
    parts.length <= 2 &&
    /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(name) &&
    (parts.length === 1 || objectNameProblem(parts[0] ?? '') === undefined);
  return isKey ? undefined : `${key} is no key of a label or annotation`;
}

/** What is wrong with a label's value; undefined: nothing. */
export function labelValueProblem(value: string): string | undefined {
  return /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/.test(value)
    ? undefined
    : `${value} is no value of a label: at most 63 letters, digits, dashes, dots and underscores, with a letter or digit at both ends`;
}
