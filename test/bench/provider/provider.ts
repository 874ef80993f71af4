/** Starts the provider of the benchmarks, and what an instance has to be told of it. */
import { join } from 'node:path'
import { Program } from '../kit/program.ts'

export class BenchProvider implements AsyncDisposable {
  readonly url: string
  readonly #program: Program

  private constructor(url: string, program: Program) {
    this.url = url
    this.#program = program
  }

  static async start(signal: AbortSignal): Promise<BenchProvider> {
    const program = new Program(join(import.meta.dirname, 'main.ts'), {})
    try {
      return new BenchProvider(await program.ask<string>({ what: 'listen' }, signal), program)
    } catch (error) {
      await program[Symbol.asyncDispose]()
      throw error
    }
  }

  get pid(): number {
    return this.#program.pid
  }

  /** How often each route was asked so far; a batch counts as one. */
  requests(signal: AbortSignal): Promise<Record<string, number>> {
    return this.#program.ask({ what: 'counts' }, signal)
  }

  get env(): Record<string, string> {
    return {
      MAIL_GMAIL_BASE_URL: this.url,
      MAIL_GOOGLE_TOKEN_URL: `${this.url}/token`,
      MAIL_GOOGLE_REVOKE_URL: `${this.url}/revoke`,
      MAIL_GRAPH_BASE_URL: `${this.url}/v1.0`,
      MAIL_MICROSOFT_TOKEN_URL: `${this.url}/token`,
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#program[Symbol.asyncDispose]()
  }
}
