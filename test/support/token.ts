/** The token of the servers that have one. */
export const TOKEN = 'correct-horse-battery-staple'
