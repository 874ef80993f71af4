/** Certificates for a test, made by openssl in a folder of its own: an authority, and what it signs. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** Makes `<name>.pem` and `<name>-key.pem` of an authority. */
export async function makeAuthority(dir: string, name: string): Promise<void> {
  const files = ['-keyout', `${name}-key.pem`, '-out', `${name}.pem`]
  await run('openssl', ['req', '-x509', ...KEY, ...files, '-subj', `/CN=${name}`, '-days', '2'], { cwd: dir })
}

/** Makes `<name>.pem`, signed by the authority for the host name, and `<name>-key.pem`. */
export async function makeCertificate(dir: string, authority: string, name: string, host = 'localhost'): Promise<void> {
  const files = ['-keyout', `${name}-key.pem`, '-out', `${name}.csr`]
  await run('openssl', ['req', '-new', ...KEY, ...files, '-subj', `/CN=${name}`], { cwd: dir })
  await writeFile(join(dir, `${name}.ext`), `subjectAltName=DNS:${host}\n`)
  const signer = ['-CA', `${authority}.pem`, '-CAkey', `${authority}-key.pem`, '-CAcreateserial']
  const made = ['-in', `${name}.csr`, '-out', `${name}.pem`, '-days', '2', '-extfile', `${name}.ext`]
  await run('openssl', ['x509', '-req', ...made, ...signer], { cwd: dir })
}
