import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../infra/config/package-root.js';
import { openApiFile, openApiText } from './openapi-file.js';

// `npm run openapi`.
writeFileSync(join(packageRoot(), openApiFile), openApiText());
