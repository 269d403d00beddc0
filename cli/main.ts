#!/usr/bin/env node
import { Command } from 'commander';
import { addCancelCommand } from './commands/cancel.js';
import { addDoctorCommand } from './commands/doctor.js';
import { addFeedCommand } from './commands/feed.js';
import { addListCommands } from './commands/lists.js';
import { addOutputCommand } from './commands/output.js';
import { addQueueCommands } from './commands/queue.js';
import { addRequestCommands } from './commands/requests.js';
import { runCommand } from './commands/run-command.js';
import { addSessionCommands } from './commands/sessions.js';
import { addShowCommand } from './commands/show.js';
import { addWatchCommand } from './commands/watch.js';
import { addWebhookCommands } from './commands/webhooks.js';
import { runKubernetesDemo } from './demo/kubernetes-demo.js';
import { runDemo } from './demo/run-demo.js';
import { runUp } from './up.js';

const exitCodeHelp = `
Exit codes: 0 done; 1 the turn ended otherwise than completed, or something unforeseen; 2 wrong arguments or
configuration; 3 \`up\` runs already; 4 the API refused (not found, conflict, busy); 5 the API is not available;
130, 143 \`watch\` was ended by Ctrl-C, SIGTERM while the turn goes on.
Environment: AGENTRUN_MGR_URL and AGENTRUN_API_TOKEN (or AGENTRUN_API_TOKEN_FILE) name another API than the local one;
AGENTRUN_DATA_DIR is the local stack's folder (.agentrun).`;

const program = new Command('agentrun')
  .description('runs long coding-agent turns durably')
  .option('--json', 'one JSON object per line on stdout')
  .addHelpText('after', exitCodeHelp)
  .exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : 2);
  });

program
  .command('up')
  .description('start everything here: Postgres, Temporal with its UI, worker, API; Ctrl-C stops it')
  .action((_options: unknown, command: Command) => runCommand(command, () => runUp()));

program
  .command('demo')
  .description('a real Codex process does a queued task, is steered in the middle, and is watched live')
  .option('--keep', 'leave the stack running afterwards, until Ctrl-C')
  .option('--kubernetes', 'in the cluster of `npm run cluster:up`: API, worker and runner are pods')
  .action((options: { keep?: boolean; kubernetes?: boolean }, command: Command) =>
    runCommand(command, () => {
      const keep = options.keep === true;
      return options.kubernetes === true ? runKubernetesDemo({ keep }) : runDemo({ keep });
    }),
  );

addSessionCommands(program, runCommand);
addWatchCommand(program, runCommand);
addOutputCommand(program, runCommand);
addFeedCommand(program, runCommand);
addListCommands(program, runCommand);
addRequestCommands(program, runCommand);
addCancelCommand(program, runCommand);
addQueueCommands(program, runCommand);
addShowCommand(program, runCommand);
addWebhookCommands(program, runCommand);
addDoctorCommand(program, runCommand);

await program.parseAsync();
