/** Version of the API, equal to package.json's (a test compares them). */
export const apiVersion = "0.1.0";
