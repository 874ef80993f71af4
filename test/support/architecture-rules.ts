/**
 * The rules of ARCHITECTURE.md as pure functions over source text: files in, faults out, each `path: what is wrong`.
 * Text and regular expressions only; what needs a real parser is left to the compiler and the linter.
 */
import { posix } from 'node:path'

export type SourceFile = { path: string; text: string }
export type Rule = (files: readonly SourceFile[]) => string[]

const MAX_LINES = 300

/** Part of the system that a file belongs to, and the parts that it may import besides itself. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  shared: [],
  'services/mail/base': ['shared'],
  'services/mail/provider': ['shared', 'services/mail/base'],
  'services/mail/store': ['shared', 'services/mail/base'],
  'services/mail/kv': ['shared', 'services/mail/base'],
  'services/mail/token': ['shared', 'services/mail/base', 'services/mail/store', 'services/mail/kv'],
  'services/mail/outbox': ['shared', 'services/mail/base', 'services/mail/store', 'services/mail/kv'],
  'services/mail/sync': [
    ...['shared', 'services/mail/base', 'services/mail/provider', 'services/mail/store'],
    ...['services/mail/kv', 'services/mail/token'],
  ],
  'services/mail/owner': [
    ...['shared', 'services/mail/base', 'services/mail/kv', 'services/mail/store'],
    ...['services/mail/token', 'services/mail/sync', 'services/mail/outbox'],
  ],
  'services/mail/inspect': [
    ...['shared', 'services/mail/base', 'services/mail/provider', 'services/mail/store'],
    ...['services/mail/sync', 'services/mail/outbox'],
  ],
  'services/mail/control': ['shared', 'services/mail/base', 'services/mail/kv'],
  'services/mail/main.js': ['services/mail/main.ts'],
  'services/mail/main.ts': ['shared', 'services/mail/base', 'services/mail/app.ts'],
  'services/http': ['shared'],
  'services/cli': ['shared'],
}
const APP = 'services/mail/app.ts'
/** The composition root in parts. */
const APP_PARTS = 'services/mail/app/'

/** Packages that only some files may import. A place that ends in "/" is a folder. */
const PACKAGE_PLACES: readonly { packages: RegExp; places: readonly string[]; scope: RegExp }[] = [
  { packages: /^nats$/, places: ['shared/nats.ts'], scope: /^(services|shared|test|scripts)\// },
  {
    packages: /^@nats-io\/(jetstream|kv|obj)$/,
    places: ['services/mail/kv/', 'services/mail/outbox/', 'services/cli/', 'test/'],
    scope: /^(services|shared|test|scripts)\//,
  },
  { packages: /^@nats-io\/services$/, places: ['services/mail/control/service.ts'], scope: /^(services|shared)\// },
]

const OURS = /^(services|shared)\//
const isSource = (path: string): boolean => /\.(ts|mts|js|mjs|cjs)$/.test(path)

/** The text without comments; strings stay. Line breaks stay, so that line numbers hold. */
export function withoutComments(text: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|(?<![:\\/])\/\/[^\n]*/g
  return text.replace(token, (found) => (found.startsWith('/') ? found.replace(/[^\n]/g, ' ') : found))
}

/** The text without comments and without what strings say. */
export function bareCode(text: string): string {
  const string = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g
  return withoutComments(text).replace(string, (found) => `''${'\n'.repeat(found.split('\n').length - 1)}`)
}

/** Module specifiers of all static, dynamic, type-only and re-exporting imports of a file. */
export function importsOf(text: string): string[] {
  const code = withoutComments(text)
  const statement = /^\s*(?:import\s*|(?:import|export)\b[^'"`;]*?\bfrom\s*)(['"])([^'"\n]+)\1/gm
  const dynamic = /\bimport\s*\(\s*(['"])([^'"\n]+)\1/g
  return [...code.matchAll(statement), ...code.matchAll(dynamic)].flatMap(([, , specifier]) => specifier ?? [])
}

/** The file of ours that a specifier names, or undefined for a package. */
function target(path: string, specifier: string): string | undefined {
  if (specifier.startsWith('#shared/')) return `shared/${specifier.slice('#shared/'.length)}`
  if (specifier.startsWith('.')) return posix.normalize(posix.join(posix.dirname(path), specifier))
  return undefined
}

function partOf(path: string): string | undefined {
  if (path === APP || path.startsWith(APP_PARTS)) return APP
  return Object.keys(MAY_IMPORT).find((part) => path === part || path.startsWith(`${part}/`))
}

const perFile =
  (applies: RegExp, faultsOf: (file: SourceFile) => string[]): Rule =>
  (files) =>
    files.filter(({ path }) => applies.test(path)).flatMap((file) => faultsOf(file).map((f) => `${file.path}: ${f}`))

/** A rule that forbids what `pattern` finds in `view` of the text. */
const forbid = (
  applies: RegExp,
  pattern: RegExp,
  what: string,
  view: (text: string) => string = bareCode,
  except: readonly string[] = [],
): Rule =>
  perFile(applies, ({ path, text }) =>
    except.includes(path)
      ? []
      : [...view(text).matchAll(new RegExp(pattern, `g${pattern.flags}`))].map(
          (found) => `line ${view(text).slice(0, found.index).split('\n').length}: ${what}`,
        ),
  )

const asWritten = (text: string): string => text

export const importsGoOneWay: Rule = perFile(OURS, ({ path, text }) => {
  const part = partOf(path)
  if (part === undefined) return ['stands in no part of the layout']
  return importsOf(text).flatMap((specifier) => {
    const to = target(path, specifier)
    // The version of the program stands in package.json.
    if (to === undefined || to === 'package.json') return []
    const other = partOf(to)
    const allowed = other === part || (part === APP ? isPartOfMail(other) : MAY_IMPORT[part]?.includes(other ?? ''))
    return allowed ? [] : [`${part} may not import ${to}`]
  })
})

const isPartOfMail = (part: string | undefined): boolean =>
  part === 'shared' || (part?.startsWith('services/mail/') === true && part !== 'services/mail/main.ts')

export const packagesStayInTheirPlaces: Rule = (files) =>
  files
    .filter(({ path }) => isSource(path))
    .flatMap(({ path, text }) =>
      importsOf(text).flatMap((specifier) =>
        PACKAGE_PLACES.filter(
          ({ packages, places, scope }) =>
            scope.test(path) &&
            packages.test(specifier) &&
            !places.some((place) => (place.endsWith('/') ? path.startsWith(place) : path === place)),
        ).map(({ places }) => `${path}: ${specifier} may be imported only in ${places.join(', ')}`),
      ),
    )

export const noImportCycle: Rule = (files) => {
  const imports = new Map(
    files
      .filter(({ path }) => isSource(path))
      .map(({ path, text }) => [path, importsOf(text).flatMap((specifier) => target(path, specifier) ?? [])]),
  )
  const done = new Set<string>()
  const faults: string[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) faults.push(`import cycle: ${[...trail.slice(trail.indexOf(path)), path].join(' → ')}`)
    else if (!done.has(path)) {
      for (const next of imports.get(path) ?? []) visit(next, [...trail, path])
      done.add(path)
    }
  }
  for (const path of imports.keys()) visit(path, [])
  return faults
}

export const filesStayShort: Rule = perFile(/\.(ts|mts|js|mjs|cjs|sh)$/, ({ path, text }) => {
  if (/^(migrations|test\/simulator\/schema)\//.test(path)) return []
  const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
  return lines > MAX_LINES ? [`${lines} lines, more than ${MAX_LINES}`] : []
})

export const environmentHasOneReader = forbid(OURS, /\bprocess\s*\.\s*env\b/, 'reads process.env', bareCode, [
  'shared/env.ts',
  // Passes all of it on to a thread.
  'services/mail/base/thread.ts',
])
export const noAny = forbid(OURS, /(?:[:<|&,=(]\s*|\bas\s+|\bextends\s+)any\b(?!\s*[:(=.])/, 'uses any')
export const noSilencedCompiler = forbid(OURS, /@ts-(?:ignore|nocheck|expect-error)\b/, 'silences tsc', asWritten)
export const noEmptyCatch = forbid(
  OURS,
  /\bcatch\s*(?:\([^)]*\))?\s*\{\s*\}|\.catch\(\s*(?:async\s*)?(?:\([^)]*\)|\w+)\s*=>\s*\{\s*\}\s*\)/,
  'swallows an error',
)
export const noDefaultExport = forbid(OURS, /\bexport\s+default\b|\bas\s+default\b/, 'has a default export')
export const noBarrel: Rule = perFile(OURS, ({ path, text }) => {
  const code = bareCode(text)
  const reExports = /\bexport\s+(?:type\s+)?(?:\*|\{[^}]*\})[^\n]*\bfrom\s*''/g
  const owns = /\b(?:const|let|function|class|type|interface|await)\b/.test(code.replace(reExports, ''))
  if (posix.basename(path) === 'index.ts' || /\bexport\s+\*/.test(code)) return ['is a barrel']
  return reExports.test(code) && !owns ? ['is a barrel'] : []
})

/** Whoever makes a queue says what bounds the number of those that wait in it. */
export const queuesSayTheirBound: Rule = perFile(/^services\//, ({ text }) =>
  bareCode(text).includes('new PQueue(') && !/(?:\/\/|\*) .*\bBound(?: of both)?: /.test(text)
    ? ['has a queue, and no comment "Bound: …" that says what bounds it']
    : [],
)

/** Names of the broker stand only in shared/subjects.ts; others import them. */
export const namesHaveOnePlace = forbid(
  OURS,
  new RegExp(
    [
      '\\b(?:(?:KV|OBJ)_mail_\\w+|EMAIL_EVENTS|mail_(?:accounts|leases|state|snapshots))\\b',
      '[\'"`]mail\\.(?:connect|status|disconnect|as|at|\\*)\\b',
      '[\'"`]user\\.[^\'"`\\n]*\\.email\\.',
      '[\'"`]\\$SRV\\.',
    ].join('|'),
  ),
  'spells a name of the broker',
  withoutComments,
  ['shared/subjects.ts'],
)

export const noTestLeftOut = forbid(
  /^test\/.*\.ts$/,
  /\b(?:test|it|describe|suite|t|context)\s*\.\s*(?:skip|only|todo)\b|\b(?:test|it|describe|suite)\s*\([^)]*?\{[^}]*?\b(?:skip|only|todo)\s*:/,
  'leaves a test out',
)

/** In test/security each case is made from a seed by itself. */
export const chanceHasASeed = forbid(
  /^test\/(?!security\/)/,
  /^import (?!type\b).* from 'fast-check'/m,
  'has other cases in every run: fc of test/support/fast-check.ts has the same',
  asWritten,
  ['test/support/fast-check.ts'],
)

/** Paths of one machine, and addresses of package registries and mirrors. */
export const noMachineInText = forbid(
  /^/,
  new RegExp(
    [
      '(?<![\\w.~$}*-])/(?:home|Users|root|work)/[\\w.-]+',
      '"resolved":\\s*"https?:',
      'https?://[^\\s"\'`)>]*\\b(?:registry|artifactory|pypi|npmjs|deb\\.debian|snapshot\\.debian|mirrors?)\\.',
    ].join('|'),
  ),
  'names a machine path or a registry',
  asWritten,
)

/** What the top level may hold besides dotfiles. */
const TOP_LEVEL = new Set([
  ...['package.json', 'package-lock.json', 'tsconfig.json', 'nats.conf', 'Makefile', 'LICENSE'],
  ...['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md'],
  ...['services', 'shared', 'migrations', 'test', 'docs', 'scripts'],
])
export const topLevelIsClosed: Rule = (files) =>
  [...new Set(files.flatMap(({ path }) => path.split('/')[0] ?? []))]
    .filter((name) => !name.startsWith('.') && !TOP_LEVEL.has(name))
    .map((name) => `${name}: does not belong to the top level`)
