import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../infra/config/package-root.js';
import { errorDocs, errorDocsFile } from './error-docs.js';

// `npm run docs:errors`.
writeFileSync(join(packageRoot(), errorDocsFile), errorDocs());
