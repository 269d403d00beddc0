import type { Command } from 'commander';
import { ownChecks } from '../doctor/own-checks.js';
import { checkProgram, programsToCheck } from '../doctor/program-checks.js';
import { hasErrors, reportLines } from '../doctor/report.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput } from '../output.js';
import type { Run } from './run-command.js';

/** Adds `doctor`: asks every part whether it can work with the settings that it has. */
export function addDoctorCommand(program: Command, run: Run): void {
  program
    .command('doctor')
    .description('check settings, addresses, database and Temporal of API, worker and this command')
    .action((_options: unknown, command: Command) =>
      run(command, async () => {
        const output = createOutput(command.optsWithGlobals().json === true);
        const { settings, programs } = programsToCheck();
        const checked = await Promise.all([
          ...programs.map((one) => checkProgram(one.program, one.command)),
          ownChecks(),
        ]);
        const results = [settings, ...checked.flat()];
        output.data(...results);
        output.line(...reportLines(results));
        return hasErrors(results) ? exitCodes.failed : exitCodes.ok;
      }),
    );
}
