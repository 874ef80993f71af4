/**
 * The text of the documents: links, names and versions lead to something that exists. Tables are compared with the code by
 * docs.test.ts; commands and examples are run by docs-commands.test.ts and docs-examples.test.ts.
 */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { ENV } from '#shared/env.ts'
import { ACCOUNT_ERRORS, ERRORS } from '#shared/errors.ts'
import { NATS_MIN_VERSION } from '#shared/nats.ts'
import { EVENT_STREAM, TRAIL_STREAM } from '#shared/subjects.ts'
import { MAKE_KEY_COMMAND } from '../services/mail/token/keys.ts'
import { allDocs, anchorsOf, blocksOf, inlineCodesOf, linksOf, proseOf, readDoc } from './support/docs.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const sorted = (names: Iterable<string>): string[] => [...names].toSorted()

test('every variable that a document names exists', () => {
  const named = allDocs().flatMap(
    ({ text }) => text.match(/\b(?:MAIL|NATS|HTTP|BETTER_AUTH|GOOGLE|MICROSOFT)_[A-Z0-9_]+\b/g) ?? [],
  )
  // Of the example's own server, and of scripts/nats-server.sh.
  const others = ['BETTER_AUTH_URL', 'BETTER_AUTH_SECRET', 'NATS_SERVER', 'NATS_SERVER_RELEASE']
  const passwords = [...read('nats.conf').matchAll(/\$(NATS_\w+)/g)].map(([, name]) => name)
  const errors = [...Object.keys(ERRORS), ...Object.keys(ACCOUNT_ERRORS)]
  const unknown = new Set<string>(named)
  for (const name of [...Object.keys(ENV), ...others, ...passwords, ...errors, TRAIL_STREAM])
    if (name !== undefined) unknown.delete(name)
  assert.deepEqual(sorted(unknown), [])
})

test('a code is called reserved exactly when nothing raises it', () => {
  const code = globSync(['services/**/*.ts', 'shared/*.ts'], { cwd: ROOT })
    .filter((path) => path !== 'shared/errors.ts')
    .map(read)
    .join('\n')
  const unused = Object.keys(ERRORS).filter((name) => !code.includes(`'${name}'`))
  const reserved = [...readDoc('docs/http.md').text.matchAll(/^`(\w+)` is reserved/gm)].map(([, name]) => name)
  assert.deepEqual(reserved, unused)
})

test('every error code that a document names exists', () => {
  const known = new Set([...Object.keys(ERRORS), ...Object.keys(ACCOUNT_ERRORS), ...Object.keys(ENV)])
  const words = [EVENT_STREAM, TRAIL_STREAM, 'NATS_SERVER', 'NATS_SERVER_RELEASE']
  const named = allDocs().flatMap((doc) => inlineCodesOf(doc).filter((code) => /^[A-Z]+(?:_[A-Z]+)+$/.test(code)))
  assert.deepEqual(sorted(new Set(named.filter((code) => !known.has(code) && !words.includes(code)))), [])
})

test('the versions that documents name are those of package.json', () => {
  const { dependencies, devDependencies, overrides } = JSON.parse(read('package.json'))
  const versions = JSON.stringify({ dependencies, devDependencies, overrides })
  const aliases = inlineCodesOf(readDoc('docs/adr/0002-packages-by-alias.md')).filter((code) => code.startsWith('npm:'))
  assert.equal(aliases.length, 2)
  for (const alias of aliases) assert.ok(versions.includes(`"${alias}"`), alias)
  const tested = /tested with Better Auth ([\d.]+)\./.exec(readDoc('docs/better-auth.md').text)?.[1]
  assert.equal(tested, devDependencies['better-auth'])
  for (const { path, text } of allDocs())
    for (const [, version] of text.matchAll(/nats-server (\d+\.\d+\.\d+) or newer/g))
      assert.equal(version, NATS_MIN_VERSION, path)
})

test('every path of the project that a document names exists, and every symbol of ARCHITECTURE.md', () => {
  const path = /^(?:services|shared|test|scripts|docs|migrations)\/[\w./-]*$/
  for (const doc of allDocs())
    for (const code of inlineCodesOf(doc))
      if (path.test(code)) assert.ok(existsSync(join(ROOT, code)), `${doc.path} names ${code}`)
  const code = globSync(['services/**/*.ts', 'shared/*.ts'], { cwd: ROOT }).map(read).join('\n')
  const symbols = inlineCodesOf(readDoc('ARCHITECTURE.md')).filter(
    (name) => /^[A-Za-z]{4,}$/.test(name) && /[a-z][A-Z]|^[A-Z][a-z]/.test(name),
  )
  assert.ok(symbols.length > 10)
  for (const symbol of symbols) assert.match(code, new RegExp(`\\b(?:class|function|const|type) ${symbol}\\b`), symbol)
})

test('every relative link leads to a file, and every anchor to a heading', () => {
  for (const doc of allDocs())
    for (const link of linksOf(doc)) {
      if (/^https?:/.test(link)) continue
      const [target = '', anchor] = link.split('#')
      const path = target === '' ? doc.path : normalize(join(dirname(doc.path), target))
      assert.ok(existsSync(join(ROOT, path)), `${doc.path} links to ${link}`)
      if (anchor !== undefined) assert.ok(anchorsOf(readDoc(path)).has(anchor), `${doc.path} links to ${link}`)
    }
})

test('every document is reached from the README, and every decision from the list of decisions', () => {
  const seen = new Set<string>()
  const visit = (path: string): void => {
    if (seen.has(path)) return
    seen.add(path)
    for (const link of linksOf(readDoc(path))) {
      if (/^https?:|^#/.test(link)) continue
      const target = normalize(join(dirname(path), link.split('#')[0] ?? '')).replace(/\/$/, '')
      const file = existsSync(join(ROOT, target, 'README.md')) ? join(target, 'README.md') : target
      if (file.endsWith('.md')) visit(file)
    }
  }
  visit('README.md')
  assert.deepEqual(sorted(allDocs().map(({ path }) => path)), sorted(seen))
})

test('decisions have their five parts', () => {
  for (const { path, text } of allDocs().filter((doc) => /adr\/\d/.test(doc.path)))
    assert.match(
      text,
      /^# \d{4} [^\n]+\n\nDate: \d{4}-\d\d-\d\d\n\nStatus: \w+\n\n## Context\n[\s\S]+\n## Decision\n[\s\S]+\n## Consequences\n/,
      path,
    )
})

test('the README is short, shows what the two commands print, and the documents give the same command for a key', () => {
  const readme = readDoc('README.md')
  assert.ok(readme.text.split('\n').length <= 200)
  const [demo, demoOutput, tests, testOutput] = blocksOf(readme)
  assert.equal(demo?.text, 'make demo\n')
  assert.match(demoOutput?.text ?? '', /^ledger: (\d[\d,]*) sent · \1 once · 0 lost · 0 twice$/m)
  assert.equal(tests?.text, 'make test\n')
  // How many there are changes with every test; that all of them pass does not.
  assert.match(testOutput?.text ?? '', /^ℹ tests (\d+)\nℹ pass \1\nℹ fail 0$/m)
  assert.ok(readDoc('docs/configuration.md').text.includes(MAKE_KEY_COMMAND))
})

test('the documents do not boast', () => {
  const boasts =
    /\b(?:blazing|seamless(?:ly)?|robust|powerful|world-class|cutting-edge|effortless(?:ly)?|simply|best-in-class|lightning)\b/i
  for (const doc of allDocs()) assert.doesNotMatch(proseOf(doc), boasts, doc.path)
})
