/** The code of a system error, or undefined for anything else. */
export const errorCode = (error: unknown) => (error instanceof Error && 'code' in error ? error.code : undefined)
