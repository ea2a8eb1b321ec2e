/** Make the picture of the documentation: `node picture.js` writes docs/images/browser_tab.jpg. */

import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const page = new URL("../_browser/browser.html", import.meta.url).href;
const path = fileURLToPath(new URL("../images/browser_tab.jpg", import.meta.url));

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const tab = await browser.newPage({ viewport: { width: 1180, height: 860 }, colorScheme: "light" });
await tab.goto(page);
await tab.click("#sample");
await tab.waitForSelector("main[aria-busy=false]", { timeout: 300000 });
await tab.screenshot({ path, type: "jpeg", quality: 82, fullPage: true });
await browser.close();
