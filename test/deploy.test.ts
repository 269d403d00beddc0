import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { searchAttributeNames } from '../domain/workflow-ids.js';
import { packageRoot } from '../infra/config/package-root.js';

it('the script for a cluster makes exactly the search attributes that the workflows carry', () => {
  const script = readFileSync(
    join(packageRoot(), 'deploy', 'temporal', 'register-search-attributes.sh'),
    'utf8',
  );
  const listed = /^attributes=\(([^)]*)\)$/m.exec(script)?.[1]?.split(' ').sort();
  expect(listed).toEqual(Object.values(searchAttributeNames).sort());
});
