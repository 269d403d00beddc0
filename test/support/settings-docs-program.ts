import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../infra/config/package-root.js';
import { settingsDocs, settingsDocsFile } from './settings-docs.js';

// `npm run docs:settings`.
writeFileSync(join(packageRoot(), settingsDocsFile), settingsDocs());
