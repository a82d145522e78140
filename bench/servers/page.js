// The page that every server of this bench renders: that of step 11, to the byte.
export const SECRET = 'a secret of thirty-two characters';
export const PORT = Number(process.env.PORT);
export const listening = () => console.log('listening');

export const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; " +
    "frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cache-control': 'private, no-cache',
  vary: 'Cookie',
};

export const render = (count) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Quick Tutorial: Home View</title>
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
<h1>Hi Home View</h1>
<p>Count: ${count}</p>
</main>
</body>
</html>
`;
