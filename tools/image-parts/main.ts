// Lays out what each image of deploy/images/Dockerfile holds, one folder per image. Runs in stages of that file, in two steps, because packages change
// seldom and programs often:
//   main.ts packages TARGET    from node_modules of the working folder
//   main.ts programs TARGET    from the built project in the working folder
import { join } from 'node:path';
import { imageParts } from './image-parts.js';
import { copyPackages, copyPrograms } from './lay-out.js';

const [step, target] = process.argv.slice(2);
const copy = { packages: copyPackages, programs: copyPrograms }[String(step)];
if (copy === undefined || target === undefined) {
  process.stderr.write('usage: image-parts packages|programs TARGET\n');
  process.exit(2);
}
for (const [image, parts] of Object.entries(imageParts))
  await copy(parts, process.cwd(), join(target, image));
