// Builds AgentRun's images without a Docker engine and leaves them in .images/ as archives, with a list of them in .images/images.json:
//   npm run images [-- api|worker|runner …]
// The tag is a hash of the content: an image that did not change keeps its name.
import { parseArgs } from 'node:util';
import { packageRoot } from '../../infra/config/package-root.js';
import { readStackConfig } from '../../infra/config/stack-config.js';
import { imageParts } from '../image-parts/image-parts.js';
import { buildImages } from './build-images.js';

const known = Object.keys(imageParts);
const { positionals } = parseArgs({ allowPositionals: true });
const unknown = positionals.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  process.stderr.write(
    `unknown image ${unknown.join(', ')}; usage: npm run images [-- ${known.join('|')} …]\n`,
  );
  process.exit(2);
}
try {
  const built = await buildImages({
    project: packageRoot(),
    cacheFolder: readStackConfig().cacheDir,
    names: positionals.length === 0 ? known : positionals,
  });
  for (const { image, archive, bytes } of built)
    console.log(`${image}\t${Math.ceil(bytes / 1_000_000)} MB\t${archive}`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
