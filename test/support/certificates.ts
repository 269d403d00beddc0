import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Paths of PEM files. */
export interface TestCertificates {
  readonly authority: string;
  readonly server: { readonly certificate: string; readonly key: string };
  readonly client: { readonly certificate: string; readonly key: string };
}

/** An authority in `folder`, with a certificate for a server named `serverName` and one for a client. Needs openssl 3. */
export function makeCertificates(folder: string, serverName: string): TestCertificates {
  const config = join(folder, 'openssl.cnf');
  writeFileSync(
    config,
    `[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign
[leaf]
basicConstraints = CA:FALSE
subjectAltName = DNS:${serverName}
`,
  );
  const make = (name: string, extensions: string, signedBy: readonly string[]) => {
    const files = { certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-keyout', files.key];
    const what = ['-out', files.certificate, '-days', '2', '-subj', `/CN=${name}`];
    execFileSync(
      'openssl',
      ['req', '-x509', '-config', config, '-extensions', extensions, ...key, ...what, ...signedBy],
      { stdio: 'pipe' },
    );
    return files;
  };
  const authority = make('authority', 'authority', []);
  const signedBy = ['-CA', authority.certificate, '-CAkey', authority.key];
  return {
    authority: authority.certificate,
    server: make('server', 'leaf', signedBy),
    client: make('client', 'leaf', signedBy),
  };
}
